// One delivery: read it, hand it to its handler, or publish it to the dead letters with the reason.

const CONFIRM_TIMEOUT_MS = 30_000;
const MAX_REASON_LENGTH = 1_000; // an AMQP header must stay small

/**
 * Handle one delivery from the queue `origin`, and acknowledge it when that is done. Never throws: returns null, or a
 * sentence for the log.
 */
export async function settle(delivery, origin, { handlers, channel, deadLetters, settings }) {
  const { messageId } = delivery.properties;
  const reason = await handle(handlers, delivery);
  try {
    if (reason !== null) await bury(deadLetters, settings, origin, delivery, reason);
    channel.ack(delivery);
    return reason && `${messageId} became a dead letter: ${reason}`;
  } catch (error) {
    try {
      channel.nack(delivery);
    } catch { /* the channel is closed, which does the same */ }
    return `${messageId} could not be settled, so it comes again: ${error.message}`;
  }
}

/** Run the handler of the delivery's event type. Returns why that was not possible, in one sentence, or null. */
async function handle(handlers, delivery) {
  let frame;
  try {
    frame = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(delivery.content));
  } catch (error) {
    return `The body is not JSON: ${error.message}`;
  }
  if (frame?.op !== 0 || typeof frame.t !== 'string') {
    return 'The body is no dispatch: "op" must be 0 and "t" the event type.';
  }
  const handler = handlers.get(frame.t);
  if (!handler) return null; // bound by another process of the group, or by an earlier version
  try {
    await handler(frame.d, about(delivery));
    return null;
  } catch (error) {
    return `The handler of ${frame.t} failed: ${error}`;
  }
}

/** What a handler is told of the dispatch, beside its `d`. */
function about({ fields, properties }) {
  const { shard, replayed } = properties.headers ?? {};
  return { messageId: properties.messageId, shard, replayed, redelivered: fields.redelivered };
}

/** Publish the delivery to the queue of dead letters and wait for the confirm; throws if it is not confirmed. */
async function bury(channel, settings, origin, { content, properties }, reason) {
  const { 'x-delivery-count': redeliveries = 0, ...headers } = properties.headers ?? {};
  const options = {
    ...properties,
    headers: { ...headers, reason: reason.slice(0, MAX_REASON_LENGTH), origin, attempts: redeliveries + 1 },
    expiration: undefined, // a dead letter stays
    userId: undefined, // RabbitMQ refuses any but the own
    mandatory: true, // else a message to a deleted queue is confirmed and lost
  };
  let timer;
  try {
    await new Promise((done, fail) => {
      timer = setTimeout(() => fail(new Error('no confirm in time')), CONFIRM_TIMEOUT_MS);
      channel.publish('', settings.dead, content, options, (error) => (error ? fail(error) : done()));
    });
  } finally {
    clearTimeout(timer);
  }
}

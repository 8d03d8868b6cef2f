// The group's queues and bindings, as docs/wire.md says.

import { Refusal } from './settings.mjs';

const DEAD_LETTERS = {
  'x-queue-type': 'quorum',
  'x-max-length': 100_000,
  'x-overflow': 'drop-head',
  'x-delivery-limit': 1_000_000,
};
const REFUSED = [403, 406]; // no permission; exists with other arguments

/** Declare the queues of the group and bind them to these event types; all of it may exist. */
export async function declare(channel, settings, types) {
  try {
    await declareQueues(channel, settings);
    for (const type of types) {
      const exchange = settings.exchangeOf(type);
      await channel.assertExchange(exchange, 'topic', { durable: true });
      await channel.bindQueue(type === 'INTERACTION_CREATE' ? settings.lane : settings.queue, exchange, '#');
    }
  } catch (error) {
    if (!REFUSED.includes(error.code)) throw error;
    const advice = 'give the user the rights, or choose another GW_GROUP';
    throw new Refusal(`RabbitMQ refuses a queue or exchange, so ${advice}: ${error.message}`, 1);
  }
}

async function declareQueues(channel, { queue, lane, dead }) {
  await channel.assertQueue(dead, { durable: true, arguments: DEAD_LETTERS });
  const limited = {
    'x-queue-type': 'quorum',
    'x-delivery-limit': 20,
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': dead,
  };
  for (const name of [queue, lane]) await channel.assertQueue(name, { durable: true, arguments: limited });
}

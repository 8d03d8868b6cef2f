// Consumes a group's dispatches from RabbitMQ and hands them to handlers. Written from docs/wire.md alone.
//
//     AMQP_URL=amqp://user:password@host:5672/ node consumer.mjs handlers.mjs

import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import { settle } from './dispatch.mjs';
import { loadHandlers, readSettings, Refusal } from './settings.mjs';
import { declare } from './topology.mjs';

const PREFETCH = 50; // for each of the two queues: this many handlers run at once
const CONNECT_TIMEOUT_MS = 10_000;
const DRAIN_TIMEOUT_MS = 25_000;
const CLOSE_TIMEOUT_MS = 3_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

const log = (text) => console.error(`${new Date().toISOString()} ${text}`);
const why = (error) => error.message || error.code || String(error); // of two addresses refused, only a code

/** Connect, and report to `lose` when the connection ends. */
async function connect(url, lose) {
  try {
    const connection = await amqplib.connect(url, { timeout: CONNECT_TIMEOUT_MS });
    return connection.on('error', lose).on('close', () => lose(new Error('the connection was closed')));
  } catch (error) {
    if (/ACCESS[-_]REFUSED/.test(error.message)) {
      throw new Refusal('RabbitMQ refuses the login: check user and password in AMQP_URL.', 1);
    }
    if (/ConnectionClose/.test(error.message)) throw new Error('RabbitMQ refuses the virtual host in AMQP_URL');
    throw error;
  }
}

/** Consume until `stopped`, then finish what was begun. Throws when the broker is lost. */
async function consume(settings, handlers, running, stopped, onReady) {
  let lose;
  const lost = new Promise((_, reject) => { lose = reject; });
  lost.catch(() => {}); // it may be lost while nobody waits for it

  const connections = [];
  try {
    // The second is for dead letters: in an alarm RabbitMQ reads nothing more from a connection that publishes.
    for (let count = 0; count < 2; count += 1) connections.push(await connect(settings.url, lose));
    const [connection, outlet] = connections;
    const channel = (await connection.createChannel()).on('error', lose);
    const deadLetters = (await outlet.createConfirmChannel()).on('error', lose);
    deadLetters.on('return', () => { // closed before the confirm comes, which would say that all is well
      lose(new Error(`the queue ${settings.dead} is gone`));
      deadLetters.close().catch(lose);
    });

    const consumeQueue = (queue) => channel.consume(queue, (delivery) => {
      if (delivery === null) return lose(new Error(`the queue ${queue} is gone`));
      const task = settle(delivery, queue, { handlers, channel, deadLetters, settings })
        .then((complaint) => complaint && log(complaint))
        .finally(() => running.delete(task));
      return running.add(task);
    });

    await declare(channel, settings, handlers.keys());
    await channel.prefetch(PREFETCH);
    const consumers = [await consumeQueue(settings.queue), await consumeQueue(settings.lane)];
    onReady();
    await Promise.race([stopped, lost]);
    await Promise.all(consumers.map(({ consumerTag }) => channel.cancel(consumerTag)));
    log(`stopping: ${running.size} dispatches are still being handled`);
    await Promise.all(running);
    await channel.close(); // its answer means that the acknowledgements arrived
  } finally {
    await Promise.all(connections.map(close));
  }
}

function close(connection) {
  const closed = new Promise((resolve) => { connection.once('close', resolve); }); // also when the answer never comes
  return Promise.race([closed, connection.close().catch(() => {}), sleep(CLOSE_TIMEOUT_MS)]);
}

async function main() {
  const settings = readSettings(process.env);
  const handlers = await loadHandlers(process.argv[2]);
  const running = new Set();
  const stopping = new AbortController();
  const stopped = new Promise((resolve) => { stopping.signal.addEventListener('abort', resolve); });
  const stop = () => {
    stopping.abort();
    const giveUp = () => fail(new Error(`${running.size} dispatches were not handled in time: they come again`));
    setTimeout(giveUp, DRAIN_TIMEOUT_MS);
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop); // a second one ends the process at once

  for (let attempt = 0; !stopping.signal.aborted; attempt += 1) {
    try {
      await consume(settings, handlers, running, stopped, () => {
        attempt = 0;
        log(`consuming ${settings.queue}: ${[...handlers.keys()].join(', ')}`);
      });
    } catch (error) {
      if (error instanceof Refusal) throw error;
      const delay = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
      log(`lost RabbitMQ: ${why(error)}; next try in ${Math.round(delay)} ms`);
      await sleep(delay, null, { signal: stopping.signal }).catch(() => {});
    }
  }
  await Promise.all(running);
  process.exit(0);
}

function fail(error) {
  log(why(error));
  process.exit(error.exitCode ?? 1);
}

main().catch(fail);

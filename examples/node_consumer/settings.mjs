// What a consumer is told from outside: its settings from the environment, its handlers from a module.

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const EVENT_TYPE = /^[A-Z][A-Z0-9_]*$/;
const HEARTBEAT_S = '10'; // a broker that went silent is noticed within two of them

/** A mistake that only the user can correct: it ends the process with this exit code. */
export class Refusal extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The address of the broker and the names of docs/wire.md, from AMQP_URL, GW_NAMESPACE and GW_GROUP. */
export function readSettings({ AMQP_URL, GW_NAMESPACE = 'gw', GW_GROUP = 'node' }) {
  for (const [key, name] of Object.entries({ GW_NAMESPACE, GW_GROUP })) {
    if (!NAME.test(name)) throw new Refusal(`${key} is "${name}": use 1 to 64 letters, digits, "_" or "-".`, 2);
  }
  const queue = `${GW_NAMESPACE}.group.${GW_GROUP}`;
  return {
    url: brokerUrl(AMQP_URL),
    queue,
    lane: `${queue}.interactions`,
    dead: `${GW_NAMESPACE}.dead.${GW_GROUP}`,
    exchangeOf: (type) => `${GW_NAMESPACE}.event.${type}`,
  };
}

function brokerUrl(text) {
  if (!text) {
    throw new Refusal('AMQP_URL is missing: set it to the address of RabbitMQ, as amqp://user:password@host:5672/.', 2);
  }
  let url;
  try {
    url = new URL(text);
  } catch {
    url = null;
  }
  if (!['amqp:', 'amqps:'].includes(url?.protocol)) { // the message does not repeat it: a password stands in it
    throw new Refusal('AMQP_URL is not an address: write it as amqp://user:password@host:5672/ (or amqps://).', 2);
  }
  if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', HEARTBEAT_S);
  return url.href;
}

/** The functions that the module exports under names of event types, as a Map: MESSAGE_CREATE → function. */
export async function loadHandlers(path) {
  if (!path) throw new Refusal('The handlers are missing: name a module, as in `node consumer.mjs handlers.mjs`.', 2);
  let module;
  try {
    module = await import(pathToFileURL(resolve(path)));
  } catch (error) {
    throw new Refusal(`The handlers in ${path} cannot be loaded: ${error.message}.`, 2);
  }
  const handlers = Object.entries(module).filter(([name, value]) => EVENT_TYPE.test(name) && value instanceof Function);
  if (handlers.length === 0) {
    throw new Refusal(`${path} exports no handler: export a function named after an event, as MESSAGE_CREATE.`, 2);
  }
  return new Map(handlers);
}

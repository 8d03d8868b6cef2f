// Handlers: each export named after an event type is called with the dispatch's `d` and what is known about it.

const API = process.env.GW_REST_URL ?? 'https://discord.com/api/v10';
const APPLICATION_COMMAND = 2;
const CHANNEL_MESSAGE = 4;
const ANSWER_TIMEOUT_MS = 3_000; // Discord awaits the first answer no longer

export async function MESSAGE_CREATE(message, { messageId, shard, redelivered }) {
  const { author, content } = message;
  console.log(JSON.stringify({ messageId, shard, redelivered, author: author.username, content }));
}

export async function INTERACTION_CREATE(interaction) {
  if (interaction.type !== APPLICATION_COMMAND) return;
  const answer = { type: CHANNEL_MESSAGE, data: { content: `You called /${interaction.data.name}.` } };
  const response = await fetch(`${API}/interactions/${interaction.id}/${interaction.token}/callback`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(answer),
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`Discord refused the answer with status ${response.status}`);
}

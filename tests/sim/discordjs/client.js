// discord.js's own gateway and REST clients, pointed at the simulator; tells on standard output what it sees.
import { createInterface } from "node:readline";
import { REST } from "@discordjs/rest";
import { CompressionMethod, WebSocketManager, WebSocketShardEvents as Events } from "@discordjs/ws";

const [token, restUrl, intents] = process.argv.slice(2);
const tell = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const rest = new REST({ api: restUrl.replace(/\/v10$/, ""), version: "10" }).setToken(token);
const manager = new WebSocketManager({
  token,
  rest,
  intents: Number(intents),
  compression: CompressionMethod.ZlibNative,
});

let sent = false;
const told = {
  MESSAGE_CREATE: "message",
  INTERACTION_CREATE: "interaction",
};

manager.on(Events.Ready, (_data, shard) => tell("ready", { shard }));
manager.on(Events.Resumed, (shard) => tell("resumed", { shard }));
manager.on(Events.Error, (error) => tell("error", { text: String(error) }));
manager.on(Events.Dispatch, async ({ t, d }) => {
  if (told[t]) tell(told[t], { id: d.id });
  if (t !== "GUILD_CREATE") return;
  tell("guild", { id: d.id });
  tell("members", { count: d.members.length });
  if (sent) return;
  sent = true;
  const channel = d.channels.find(({ type }) => type === 0);
  const message = await rest.post(`/channels/${channel.id}/messages`, { body: { content: "hello from discord.js" } });
  tell("sent", { id: message.id });
});
process.on("unhandledRejection", (error) => tell("error", { text: String(error) }));

await manager.connect();
createInterface({ input: process.stdin }).once("close", async () => {
  await manager.destroy();
  process.exit(0);
});

// The files in the documentation are what the command prints: each command there is run, and its output is the block after it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { clientNames } from "../../src/client-config/clients.ts";
import { commandLine } from "../fixtures/command-line.ts";

const text = readFileSync(join(import.meta.dirname, "../../docs/client-setup.md"), "utf8");
const examples = [
  ...text.matchAll(/^```sh\nentrepot (client-config .*)\n```\n\n```[a-z]+\n([\s\S]*?)^```$/gm),
].map(([, command = "", output = ""]) => ({ argv: command.split(" "), output }));

t.test("each file of docs/client-setup.md", async (t) => {
  t.ok(examples.length >= 9, `${examples.length} examples`);
  for (const { argv, output } of examples) {
    const line = commandLine(argv);
    t.equal(await line.exit, 0, argv.join(" "));
    t.equal(line.out(), output);
  }
});

t.test("each client is named", (t) => {
  for (const client of clientNames)
    t.match(text, new RegExp(`\`${client}\`|client-config ${client}\\b`), client);
  t.end();
});

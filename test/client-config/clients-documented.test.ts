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

t.test("the commands of the README write what its pulls need", async (t) => {
  const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
  const [, command = ""] = /^npm start --silent -- (client-config (?:.*\\\n)*.*)$/m.exec(readme) ?? [];
  const [, yaml = ""] = /^```yaml\n([\s\S]*?)^```$/m.exec(readme) ?? [];
  const argv = command.replaceAll("\\\n", " ").split(/\s+/);
  const directory = t.testdir();
  const given = { files: { "entrepot.yaml": yaml, "/etc/entrepot/password": "secret" } };
  const line = commandLine([...argv.slice(0, -1), directory], given);
  t.equal(await line.exit, 0, line.err());
  t.strictSame(
    line
      .out()
      .split("\n")
      .map((path) => path.slice(directory.length)),
    [
      "/etc/docker/daemon.json",
      "/etc/containerd/certs.d/registry.example.com/hosts.toml",
      "/etc/containers/registries.conf.d/50-entrepot.conf",
      "",
    ],
  );
  t.match(readme, /ctr images pull --hosts-dir \/etc\/containerd\/certs\.d registry\.example\.com\//);
});

t.test("each client is named", (t) => {
  for (const client of clientNames)
    t.match(text, new RegExp(`\`${client}\`|client-config ${client}\\b`), client);
  t.end();
});

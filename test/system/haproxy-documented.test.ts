// HAProxy set up by the commands of docs/several-nodes.md, from the installation to the statistics page: as they stand there but
// for the directory, the addresses and the port, which differ here.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { attempt, Child, run } from "./fixtures/child.ts";
import { freePort } from "./fixtures/free-port.ts";
import { haproxyPrograms } from "./fixtures/haproxy.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

const root = join(import.meta.dirname, "../..");
const text = readFileSync(join(root, "docs/several-nodes.md"), "utf8");
const blocks = [...text.matchAll(/<!-- haproxy: [^\n]* -->\n```sh\n(.*?)```/gs)].map(
  ([, block = ""]) => block,
);
const startCommand = /start command is `([^`]+)`/.exec(text)?.[1] ?? "";

t.test("the commands of docs/several-nodes.md", async (t) => {
  if (!requires(t, ...haproxyPrograms, "curl")) return;
  const [setUp = "", look = ""] = blocks;
  const directory = await workDirectory(t);
  const far = { url: "http://127.0.0.1:9", username: "", password: "" };
  const nodes = [await startMirror(t, far), await startMirror(t, far)];
  const [port, statistics] = [await freePort(), await freePort()];
  const authority = new Authority(directory, "authority");
  const { cert, key } = authority.issue("balancer", "DNS:mirror.example.com");
  writeFileSync(join(directory, "certificate.pem"), cert);
  writeFileSync(join(directory, "chain.pem"), authority.cert);
  writeFileSync(join(directory, "key.pem"), key);
  /** The command in this test's directory, at its ports. */
  const here = (command: string): string =>
    command
      .replaceAll("/etc/", `${directory}/etc/`)
      .replaceAll("10.0.0.7:5000", nodes[0]?.host ?? "")
      .replaceAll("10.0.0.8:5000", nodes[1]?.host ?? "")
      .replaceAll("127.0.0.1:8404", `127.0.0.1:${statistics}`)
      .replaceAll("https://mirror.example.com/", `https://mirror.example.com:${port}/`)
      .replaceAll(/(certificate|chain|key)\.pem/g, `${directory}/$1.pem`)
      .replace(
        /^curl /,
        `curl --silent --show-error --cacert ${directory}/authority.pem --resolve mirror.example.com:${port}:127.0.0.1 `,
      );
  await run("mkdir", ["--parents", join(directory, "etc/haproxy"), join(directory, "etc/default")]);
  // Where clients pull and where the certificate is: the defaults of the file are those of the commands.
  const changed = [`LB_BIND=127.0.0.1:${port}`, `LB_CERT=${directory}/etc/haproxy/certs/`];
  writeFileSync(
    join(directory, "etc/default/haproxy"),
    `${[...changed, `LB_STATS_BIND=127.0.0.1:${statistics}`].join("\n")}\n`,
  );
  const file = readFileSync(join(root, "haproxy/haproxy.cfg"), "utf8");
  for (const preset of ["LB_BIND :443", "LB_CERT /etc/haproxy/certs/", "LB_STATS_BIND 127.0.0.1:8404"])
    t.match(file, `presetenv ${preset}\n`);

  const commands = setUp.trim().split("\n");
  t.equal(commands.length, 8);
  for (const command of commands) {
    if (/^(apt-get install|systemctl restart) haproxy$/.test(command)) continue;
    const { code, output } = await attempt("sh", ["-c", here(command)], { cwd: root });
    t.equal(code, 0, `${command}: ${output}`);
  }

  // What systemd starts is what the text says, and reads what the text writes.
  const unit = readFileSync("/lib/systemd/system/haproxy.service", "utf8");
  t.match(unit, /^EnvironmentFile=-\/etc\/default\/haproxy$/m);
  t.match(unit, /^Environment=.*CONFIG=\/etc\/haproxy\/haproxy\.cfg/m);
  t.equal(startCommand, "env $(grep ^LB_ /etc/default/haproxy) haproxy -W -db -f /etc/haproxy/haproxy.cfg");
  const haproxy = new Child(t, "sh", ["-c", `exec ${here(startCommand)}`]);
  await until("both nodes are up", async () => {
    if (!haproxy.running) throw new Error(haproxy.output());
    const { output } = await attempt("sh", ["-c", here("curl 'http://127.0.0.1:8404/stats;csv'")]);
    return (output.match(/^nodes,node\d,.*,UP,/gm) ?? []).length === 2;
  });
  const answers = new Map<string, string>();
  for (const command of look.trim().split("\n")) {
    const { code, output } = await attempt("sh", ["-c", here(command)]);
    t.equal(code, 0, `${command}: ${output.slice(0, 500)}`);
    answers.set(command.slice(command.lastIndexOf("/")).replace("'", ""), output);
  }
  t.match(answers.get("/stats"), /<title>Statistics Report for HAProxy/);
  t.match(answers.get("/stats"), /node1.{1,4000}node2/s);
  for (const metric of ["haproxy_server_status", "haproxy_server_check_failures_total"]) {
    t.match(text, `\`${metric}\``);
    t.match(answers.get("/metrics"), metric);
  }
  t.match(haproxy.output(), /nodes\/node[12] .* 200 .*"GET .*\/v2\/ HTTP/, "the log names the node");
});

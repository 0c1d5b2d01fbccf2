import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { configOf, passwordOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const env = { ...upstreamUrl, ENTREPOT_UPSTREAM_USERNAME: "mirror" };
const withFile = (path: string) => ({ ...env, ENTREPOT_UPSTREAM_PASSWORD_FILE: path });

t.test("the password is the file without the newlines at its end", async (t) => {
  for (const text of ["p w", "p w\n", "p w\r\n", "p w\n\n"]) {
    const config = configOf({ env: withFile("/run/secrets/p"), files: { "/run/secrets/p": text } });
    t.equal(await passwordOf(config), "p w", JSON.stringify(text));
  }
});

t.test("a file that cannot be read is named, and the reason given", async (t) => {
  t.same(problemsOf({ env: withFile("/run/secrets/p") }), [
    'ENTREPOT_UPSTREAM_PASSWORD_FILE: found "/run/secrets/p", which cannot be read (no such file), expected a file with the password',
  ]);
});

t.test("a password that was put in place of the path is not shown", async (t) => {
  const [problem = ""] = problemsOf({ env: withFile("hunter2") });
  t.match(problem, /not shown/);
  t.notMatch(problem, /hunter2/);
});

t.test("a file with anything but one line is no password, and its content is not shown", async (t) => {
  for (const text of ["", "\n", "hunter2\nhunter3\n", "hunter2\0", "hunter2".repeat(5000)]) {
    const [problem = ""] = problemsOf({ env: withFile("./p"), files: { "./p": text } });
    t.match(
      problem,
      /^ENTREPOT_UPSTREAM_PASSWORD_FILE: found other content \(not shown\) in "\.\/p", expected a password/,
    );
    t.notMatch(problem, /hunter2/);
  }
});

t.test("a running program sees what the file holds now", async (t) => {
  const path = join(t.testdir({ p: "at start" }), "p");
  const config = configOf({ env: withFile(path), files: { [path]: "at start" } });
  writeFileSync(path, "since then\r\n");
  t.equal(await passwordOf(config), "since then");
  const { auth } = config.upstreams[0];
  t.match(auth, { kind: "basic", username: "mirror", password: { problem: undefined } });
});

t.test("the secret of the nodes: given or in a file, long enough, and not shown", async (t) => {
  const secret = "hunter2-hunter2-hunter2-hunter2-";
  t.equal(configOf({ env: upstreamUrl }).node.secret, undefined);
  for (const config of [
    configOf({ env: { ...upstreamUrl, ENTREPOT_NODE_SECRET: secret } }),
    configOf({ env: { ...upstreamUrl, ENTREPOT_NODE_SECRET_FILE: "/s" }, files: { "/s": `${secret}\n` } }),
  ]) {
    t.equal((await config.node.secret?.read())?.reveal(), secret);
    t.notMatch(JSON.stringify(config), /hunter2/);
  }
  const [problem = ""] = problemsOf({ env: { ...upstreamUrl, ENTREPOT_NODE_SECRET: "hunter2" } });
  t.match(problem, /^ENTREPOT_NODE_SECRET: .*32 to 1024/);
  t.notMatch(problem, /hunter2/);
});

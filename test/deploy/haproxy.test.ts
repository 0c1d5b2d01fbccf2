// haproxy/haproxy.cfg as HAProxy itself sees it; what it does is in test/system/haproxy*.test.ts.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Authority } from "../fixtures/certificates.ts";
import { attempt } from "../system/fixtures/child.ts";
import { haproxyConfiguration } from "../system/fixtures/haproxy.ts";
import { newerClients } from "../system/fixtures/newer-clients.ts";
import { requires } from "../system/fixtures/requires.ts";
import { workDirectory } from "../system/fixtures/work-directory.ts";

const composeFile = join(import.meta.dirname, "../../docker-compose.yml");

t.test("haproxy -c of the branch that docker-compose.yml has", async (t) => {
  const newer = await newerClients(t);
  if (newer === undefined || !requires(t, "linux", "root", "openssl")) return;
  const branch = /image: &balancer haproxy:(\S+)/.exec(readFileSync(composeFile, "utf8"))?.[1] ?? "none";
  t.match((await newer.attempt("haproxy", ["-v"])).output, `HAProxy version ${branch}.`);
  const directory = await workDirectory(t);
  const { cert, key } = new Authority(directory, "balancer");
  writeFileSync(join(directory, "tls.pem"), cert + key);
  copyFileSync(haproxyConfiguration, join(directory, "haproxy.cfg"));
  const nodes = { LB_NODE_1: "10.0.0.11:5000", LB_NODE_2: "10.0.0.12:5000" };
  const env = { LB_CERT: join(directory, "tls.pem"), ...nodes };
  const { code, output } = await newer.attempt(
    "haproxy",
    ["-c", "-q", "-f", join(directory, "haproxy.cfg")],
    { env },
  );
  t.same({ code, output }, { code: 0, output: "" }, "without a warning");
});

t.test("haproxy -c", async (t) => {
  if (!requires(t, "haproxy", "openssl")) return;
  const directory = t.testdir();
  const { cert, key } = new Authority(directory, "balancer");
  const certificate = join(directory, "tls.pem");
  writeFileSync(certificate, cert + key);
  const check = (env: NodeJS.ProcessEnv) =>
    attempt("haproxy", ["-c", "-q", "-f", haproxyConfiguration], { env: { LB_CERT: certificate, ...env } });

  const two = await check({ LB_NODE_1: "10.0.0.11:5000", LB_NODE_2: "10.0.0.12:5000" });
  t.equal(two.code, 0, two.output);
  t.equal(two.output, "", "without a warning");
  const eight = Object.fromEntries(
    Array.from({ length: 8 }, (_, at) => [`LB_NODE_${at + 1}`, "10.0.0.11:5000"]),
  );
  t.equal((await check(eight)).code, 0, "eight nodes");
  const unknown = await check({ LB_NODE_1: "mirror-1.invalid:5000" });
  t.equal(unknown.code, 0, "a name that is not known yet does not keep it from starting");
  t.not((await check({ LB_CERT: join(directory, "none.pem") })).code, 0, "a missing certificate does");
});

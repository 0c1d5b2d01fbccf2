import t from "tap";
import { explanation, introduction, invitation, type Scene } from "../../src/demo/narration.ts";
import { PullError } from "../../src/demo/pull.ts";
import { StoreError } from "../../src/ports/blobs.ts";

const scene: Scene = {
  registry: new URL("http://127.0.0.1:4000/artifactory/api/docker/docker-local"),
  credentials: { username: "ci", password: "s3cret" },
  link: { roundTripMs: 40, bytesPerSecond: 12_500_000 },
  mirror: new URL("http://127.0.0.1:5000"),
  ops: new URL("http://127.0.0.1:5001"),
  cacheDirectory: "/somewhere",
  repository: "team/app",
};

t.test("the link is said to be simulated, with its numbers", async (t) => {
  t.match(introduction(scene).join("\n"), /SIMULATED long link: 40 ms per request,\s+100 Mbit\/s shared/);
});

t.test("the lines to try name the addresses in use", async (t) => {
  const lines = invitation(scene).map((line) => line.trim());
  for (const line of [
    "docker pull 127.0.0.1:5000/team/app:1.0",
    "podman pull --tls-verify=false 127.0.0.1:5000/team/app:1.0",
    'docker pull busybox                       (with "registry-mirrors": ["http://127.0.0.1:5000"] in daemon.json)',
    "curl http://127.0.0.1:5000/v2/_catalog",
    "curl http://127.0.0.1:5001/metrics",
    "curl -u ci:s3cret http://127.0.0.1:4000/artifactory/api/docker/docker-local/v2/team/app/tags/list",
  ]) {
    t.ok(lines.includes(line), line);
  }
});

t.test("what can be expected to go wrong is one line", async (t) => {
  const taken = Object.assign(new Error("listen EADDRINUSE"), { code: "EADDRINUSE", port: 5001 });
  const line = "Port 5001 is taken. Choose others: npm run demo -- --port 5050 --ops-port 5051";
  t.equal(explanation(taken), line);
  t.equal(explanation(new Error("cannot start", { cause: taken })), line);
  const reserved = Object.assign(new Error("listen EACCES"), { code: "EACCES", port: 80 });
  t.match(explanation(reserved), /^Port 80 needs more rights\./);
  const broken = new PullError("network", "the host did not answer", { cause: new Error("closed") });
  t.equal(explanation(broken), "The demo failed: the host did not answer: closed.");
  t.equal(explanation(new StoreError("no_space", "no room")), "The demo failed: no room.");
});

t.test("what cannot be expected keeps its stack", async (t) => {
  t.match(explanation(new TypeError("x is undefined")), /TypeError: x is undefined\n +at /);
  t.equal(explanation("just text"), "just text");
});

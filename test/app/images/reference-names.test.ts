import t from "tap";
import { referenceNames } from "../../../src/app/images/reference-names.ts";
import { plainUpstream } from "../../../src/config/config.ts";
import { parseImageReference } from "../../../src/ops/stats/image-reference.ts";

const upstreams = [plainUpstream("main", new URL("https://registry.example.com"))] as const;

t.test("a mirror is called as the configuration says, and by the port that clients pull from", async (t) => {
  const names = referenceNames({
    upstreams: [...upstreams],
    node: { name: "Node-1", address: "http://one.example.com:5000", secret: undefined },
    listen: { host: "0.0.0.0", port: 5000 },
    opsHosts: ["ops.example.com"],
    opsPage: { mirror: "https://Mirror.example.com/registry/" },
  });
  for (const host of [
    "node-1:6000",
    "one.example.com",
    "ops.example.com",
    "mirror.example.com",
    "any.example.com:5000",
  ])
    t.match(
      parseImageReference(`${host}/team/app`, names),
      { upstream: "main", repository: "team/app" },
      host,
    );
  t.match(parseImageReference("any.example.com/team/app", names), { problem: /is none/ });
});

t.test("a socket and a port that is any are no names", async (t) => {
  for (const listen of [
    { host: "0.0.0.0", port: 0 },
    { path: "/run/entrepot.sock", mode: 0o660 },
  ] as const) {
    const names = referenceNames({
      upstreams: [...upstreams],
      node: { name: "node-1", address: undefined, secret: undefined },
      listen,
      opsHosts: [],
    });
    t.equal(names.port, undefined);
    t.match(parseImageReference("any.example.com:5000/team/app", names), { problem: /is none/ });
  }
});

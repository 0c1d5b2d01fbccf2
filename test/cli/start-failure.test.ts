import t from "tap";
import { describeStartFailure } from "../../src/cli/start-failure.ts";
import { StoreError } from "../../src/ports/blobs.ts";

const listeners = [
  { address: { host: "0.0.0.0", port: 5000 }, remedy: "with A" },
  { address: { host: "127.0.0.1", port: 5001 }, remedy: "with B" },
];
const systemError = (code: string, rest: object) =>
  Object.assign(new Error(`listen ${code}`), { code, ...rest });

t.test("an error of listening names the address as configured and the setting", async (t) => {
  for (const [error, says] of [
    [
      systemError("EADDRINUSE", { address: "0.0.0.0", port: 5000 }),
      /^entrepot: cannot listen on 0\.0\.0\.0:5000: another program already listens there\. Choose another address with A\.$/,
    ],
    [systemError("EADDRINUSE", { address: "127.0.0.1", port: 5001 }), /127\.0\.0\.1:5001: .* with B\.$/],
    [systemError("EACCES", { address: "0.0.0.0", port: 5000 }), /reserved for root.* with A\.$/],
    [systemError("EADDRNOTAVAIL", { address: "127.0.0.1", port: 5001 }), /no such address.* with B\.$/],
    [systemError("ENOTFOUND", { hostname: "127.0.0.1" }), /the host name is not known.* with B\.$/],
    [
      systemError("EADDRINUSE", { address: "::1", port: 9 }),
      /^entrepot: cannot listen on \[::1\]:9: another program already listens there\.$/,
    ],
  ] as const) {
    t.match(describeStartFailure(error, listeners), says);
  }
});

t.test("a name that was resolved is found by its port", async (t) => {
  const named = [{ address: { host: "localhost", port: 5000 }, remedy: "with A" }];
  const error = systemError("EADDRINUSE", { address: "127.0.0.1", port: 5000 });
  t.match(describeStartFailure(error, named), /^entrepot: cannot listen on localhost:5000: /);
});

t.test("a store that does not open names the directory's setting", async (t) => {
  const error = new StoreError("io", "mkdir /x: permission denied");
  t.equal(
    describeStartFailure(error, listeners),
    "entrepot: cannot start: mkdir /x: permission denied. Another directory: ENTREPOT_CACHE_DIR, or cache.dir in the configuration file.",
  );
});

t.test("anything else is its message", async (t) => {
  t.equal(describeStartFailure(new Error("boom"), listeners), "entrepot: cannot start: boom");
  t.equal(
    describeStartFailure(systemError("EACCES", { path: "/x" }), listeners),
    "entrepot: cannot start: listen EACCES",
  );
  t.equal(describeStartFailure(undefined, listeners), "entrepot: cannot start: undefined");
});

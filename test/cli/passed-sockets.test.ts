import t from "tap";
import { withPassedSockets } from "../../src/cli/passed-sockets.ts";

const listen = "ENTREPOT_LISTEN";
const ops = "ENTREPOT_OPS_LISTEN";

t.test("sockets that are passed become the listeners", async (t) => {
  for (const [env, expected] of [
    [{ LISTEN_FDS: "1" }, { [listen]: "fd://3", [ops]: undefined }],
    [{ LISTEN_FDS: "2" }, { [listen]: "fd://3", [ops]: "fd://4" }],
    [
      { LISTEN_FDS: "2", LISTEN_FDNAMES: "ops:entrepot.socket" },
      { [listen]: "fd://4", [ops]: "fd://3" },
    ],
    [
      { LISTEN_FDS: "1", LISTEN_FDNAMES: "ops" },
      { [listen]: undefined, [ops]: "fd://3" },
    ],
    [
      { LISTEN_FDS: "2", [listen]: ":5000" },
      { [listen]: ":5000", [ops]: "fd://4" },
    ],
    [
      { LISTEN_FDS: "1", [listen]: "" },
      { [listen]: "fd://3", [ops]: undefined },
    ],
  ] as const) {
    const made = withPassedSockets({ LISTEN_PID: "7", ...env }, 7);
    t.same({ [listen]: made[listen], [ops]: made[ops] }, expected, JSON.stringify(env));
  }
});

t.test("those of another process, or none, change nothing", async (t) => {
  for (const env of [
    {},
    { LISTEN_FDS: "2" },
    { LISTEN_PID: "8", LISTEN_FDS: "2" },
    { LISTEN_PID: "7", LISTEN_FDS: "0" },
    { LISTEN_PID: "7", LISTEN_FDS: "x" },
  ])
    t.equal(withPassedSockets(env, 7), env);
});

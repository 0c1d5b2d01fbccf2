// Sockets that systemd has opened and passes to this process (socket activation, sd_listen_fds(3)).
import type { Environment } from "../config/yaml.ts";

/** The first descriptor that is passed. */
const first = 3;
/** FileDescriptorName= of the socket that is for the ops listener. */
const opsName = "ops";

/**
 * The environment with the two listeners at the sockets that were passed to the process `pid`: the one named `ops` is for
 * opsListen, and of the others the first is for listen and the second for opsListen. A variable that is set stays.
 */
export function withPassedSockets(env: Environment, pid: number): Environment {
  const { LISTEN_PID, LISTEN_FDS = "", LISTEN_FDNAMES = "" } = env;
  if (LISTEN_PID !== String(pid) || !/^[1-9]\d{0,2}$/.test(LISTEN_FDS)) return env;
  const names = LISTEN_FDNAMES.split(":");
  const all = Array.from({ length: Number(LISTEN_FDS) }, (_, i) => i);
  const named = all.find((i) => names[i] === opsName);
  const [listen, second] = all.filter((i) => i !== named);
  return {
    ...env,
    ...place("ENTREPOT_LISTEN", listen, env),
    ...place("ENTREPOT_OPS_LISTEN", named ?? second, env),
  };
}

function place(variable: string, index: number | undefined, env: Environment): Environment {
  return index === undefined || env[variable] ? {} : { [variable]: `fd://${first + index}` };
}

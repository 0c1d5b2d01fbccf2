// What it costs to ask who asks: the same cached manifest, by the same client, from mirrors that differ in their access mode.
// All of them run at once and are asked in turn, a second each, so that what else the machine does meets all of them.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { userLine } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { costOf } from "./cost.ts";
import { type EntrepotServer, startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { pull } from "./pulling.ts";
import type { Round } from "./round.ts";
import { ours, type Scale, type Scenario } from "./scenario.ts";
import { median } from "./statistics.ts";
import { wrk } from "./wrk.ts";

const image = makeImage({ seed: "access modes", layers: Array.from({ length: 8 }, () => 64) });
const repository = repositoryOf("bench/access", "1", image);
const path = `/v2/${repository.name}/manifests/1`;
const user = { name: "ci", password: "the password of the bench" };

interface Mode {
  readonly name: string;
  readonly env: (files: { readonly users: string }) => Readonly<Record<string, string>>;
  /** The header that its clients send. */
  readonly authorization: (server: EntrepotServer) => Promise<string>;
}

const basic = `Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}`;

const modes: readonly Mode[] = [
  // Its clients send the header as well: that it is not read is what is compared.
  { name: "open", env: () => ({}), authorization: async () => basic },
  {
    name: "htpasswd",
    env: ({ users }) => ({ ENTREPOT_ACCESS_MODE: "htpasswd", ENTREPOT_ACCESS_HTPASSWD_FILE: users }),
    authorization: async () => basic,
  },
  {
    name: "token",
    env: ({ users }) => ({ ENTREPOT_ACCESS_MODE: "token", ENTREPOT_ACCESS_HTPASSWD_FILE: users }),
    authorization: bearer,
  },
  // The far registry takes whatever it is sent: what proving costs here is counted, not there.
  {
    name: "passthrough",
    env: () => ({ ENTREPOT_ACCESS_MODE: "passthrough" }),
    authorization: async () => basic,
  },
];

/** A token of the mirror's own, for one pull. */
async function bearer({ url }: EntrepotServer): Promise<string> {
  const asked = new URL(`/v2/token?scope=repository:${repository.name}:pull`, url);
  const answer = await fetch(asked, { headers: { authorization: basic } });
  const { token } = (await answer.json()) as { token: string };
  return `Bearer ${token}`;
}

interface Sizes {
  /** Turns of every mode, and seconds of each. */
  readonly turns: number;
  readonly seconds: number;
}

export function accessModes({ quick }: Scale): Scenario {
  const sizes = quick ? { turns: 1, seconds: 1 } : { turns: 10, seconds: 1 };
  return {
    name: "access-modes",
    title: "Cached manifest by tag, by access mode",
    programs: ["wrk"],
    measures: modes.flatMap(({ name }) => [
      { id: `${name}-cpu`, title: name, unit: "CPU µs/request" as const },
      ...(name === "open"
        ? []
        : [
            {
              id: `${name}-ratio`,
              title: `${name} over open`,
              unit: "×" as const,
              targets: [{ atMost: 1.15 }],
            },
          ]),
    ]),
    run: (round) => measure(round, sizes),
  };
}

async function measure(round: Round, { turns, seconds }: Sizes) {
  const far = await round.startFar([repository]);
  const users = join(await round.directory(), "users");
  await writeFile(users, userLine(user.name, user.password));
  const running = [];
  for (const { name, env, authorization } of modes) {
    const directory = await round.directory();
    const options = {
      name,
      upstream: far.url,
      directory,
      place: round.places.mirrors[0],
      env: env({ users }),
    };
    const server = await round.stopping(startEntrepot(options));
    const sent = await authorization(server);
    await pull(round, server, path, image, sent);
    const load = (time: number) =>
      wrk({
        base: server.url,
        paths: [path],
        accept: image.mediaType,
        authorization: sent,
        seconds: time,
        place: round.places.load,
      });
    // The first seconds show how a program warms up, not how it runs.
    await load(3 * seconds);
    running.push({ name, server, load, cpu: [] as number[] });
  }
  for (let turn = 0; turn < turns; turn++)
    for (const { name, server, load, cpu } of turn % 2 === 0 ? running : running.toReversed()) {
      const { result, cpuSeconds } = await costOf([server], () => load(seconds));
      round.equal(`failed requests in mode ${name}`, result.failed, 0);
      cpu.push((cpuSeconds / result.requests) * 1e6);
    }
  const open = running[0]?.cpu ?? [];
  return running.flatMap(({ name, cpu }) => [
    { measure: `${name}-cpu`, peer: ours, value: median(cpu) },
    ...(name === "open"
      ? []
      : [
          {
            measure: `${name}-ratio`,
            peer: ours,
            value: median(cpu.map((each, turn) => each / (open[turn] ?? Number.NaN))),
          },
        ]),
  ]);
}

// Tags that deploys and pollers ask for again and again, over a link of 40 ms: how many of their requests wait for upstream, and
// what it costs upstream that the mirror confirms them before they expire. The same requests at the same times with and without.
import { Agent, get } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { makeImage } from "../fixtures/images.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";
import { startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { startPacedRelay } from "./paced-relay.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { percentile } from "./statistics.ts";

const roundTrip = 40;
/** Times to live: the first are those after which the mirror can know that a tag is asked for regularly, the last are counted. */
const [warmUp, counted] = [4, 4];
const image = makeImage({ seed: "regular tags", layers: [] });
/** Named by its tags. */
const name = "bench/regular-tags";

interface Sizes {
  /** Milliseconds. Below 10 s the mirror confirms nothing ahead: good for counts alone. */
  readonly ttl: number;
  readonly tags: number;
}

interface Poll {
  readonly tag: string;
  /** Milliseconds from the start. */
  readonly at: number;
  /** It is asked for at least once in each of the last three times to live. */
  readonly isRegular: boolean;
}

interface Answer extends Poll {
  readonly milliseconds: number;
  /** Upstream was asked while the client waited. */
  readonly waited: boolean;
}

export function regularTags({ quick }: Scale): Scenario {
  const sizes = quick ? { ttl: 1_000, tags: 20 } : { ttl: 60_000, tags: 300 };
  return {
    name: "regular-tags",
    title: `${sizes.tags} tags asked for regularly and now and then, over ${roundTrip} ms, tags.ttl ${sizes.ttl / 1000} s`,
    mostRounds: 1,
    measures: [
      ...measuresOf("ahead", "confirmed ahead"),
      ...measuresOf("asked", "confirmed when asked"),
      heads,
    ],
    async run(round) {
      const [ahead, asked] = await Promise.all([
        measure(round, "ahead", sizes, {}),
        measure(round, "asked", sizes, { ENTREPOT_REFRESH_AHEAD: "0%" }),
      ]);
      round.equal("upstream is asked about tags", asked.heads > 0, true);
      return [...ahead.samples, ...asked.samples, ...samplesOf(ours, { heads: ahead.heads / asked.heads })];
    },
  };
}

const heads: Measure = {
  id: "heads",
  title: "Questions to upstream about tags, confirmed ahead against when asked",
  unit: "×",
  targets: [{ atMost: 1.3 }],
};

function measuresOf(id: "ahead" | "asked", title: string): readonly Measure[] {
  return [
    {
      id: `${id}-at-once`,
      title: `Requests of regular tags that wait for no upstream, ${title}`,
      unit: "%",
      ...(id === "ahead" ? { targets: [{ atLeast: 99 }] } : {}),
    },
    { id: `${id}-p99`, title: `The same, p99, ${title}`, unit: "ms" },
  ];
}

async function measure(
  round: Round,
  id: string,
  { ttl, tags }: Sizes,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly samples: readonly Sample[]; readonly heads: number }> {
  const polls = pollsOf(ttl, tags);
  const repository = repositoryOf(name, "0", image);
  const named = Object.fromEntries(Array.from({ length: tags }, (_, at) => [`${at}`, image.digest]));
  const far = await round.startFar([{ ...repository, tags: named }]);
  const upstream = await startPacedRelay(round, far.url, 12_500_000, roundTrip);
  const directory = await round.directory();
  const options = { upstream, directory, place: round.places.mirrors[0] };
  const settings = { ENTREPOT_TAG_TTL: `${ttl / 1000}s`, ...env };
  const server = await round.stopping(startEntrepot({ ...options, env: settings }));
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const start = performance.now();
  const answers = await Promise.all(
    polls.map(async (poll) => {
      await delay(Math.max(0, poll.at - (performance.now() - start)));
      return await ask(new URL(`/v2/${name}/manifests/${poll.tag}`, server.url), agent, poll);
    }),
  );
  agent.destroy();
  const regular = answers.filter(({ at, isRegular }) => isRegular && at >= warmUp * ttl);
  round.equal(`there are requests of regular tags, ${id}`, regular.length > 0, true);
  round.equal(`answers, ${id}`, answers.length, polls.length);
  const questions = (await far.asked()).filter(({ path }) => /\/manifests\/\d+$/.test(path));
  await server.stop();
  const values = {
    "at-once": (100 * regular.filter(({ waited }) => !waited).length) / regular.length,
    p99: percentile(
      regular.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b),
      99,
    ),
  };
  return { samples: samplesOf(ours, values, (measure) => `${id}-${measure}`), heads: questions.length };
}

/**
 * Two thirds of the tags are polled at intervals of a fifth to nine tenths of `ttl`, the others now and then, four times that
 * apart at most.
 */
function pollsOf(ttl: number, tags: number): readonly Poll[] {
  const seeded = new SeededRandom(17);
  const random = (): number => seeded.next();
  const end = (warmUp + counted) * ttl;
  return Array.from({ length: tags }, (_, number) => number).flatMap((number) => {
    const times: number[] = [];
    const interval = ttl * (0.2 + 0.7 * random());
    for (let at = random() * ttl; at < end; ) {
      times.push(at);
      at += number % 3 === 0 ? 4 * ttl * random() : interval * (0.9 + 0.2 * random());
    }
    const isAsked = (at: number, before: number): boolean =>
      times.some((time) => time < at - before * ttl && time >= at - (before + 1) * ttl);
    return times.map((at) => ({
      tag: `${number}`,
      at,
      isRegular: [0, 1, 2].every((before) => isAsked(at, before)),
    }));
  });
}

async function ask(url: URL, agent: Agent, poll: Poll): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const start = performance.now();
  const request = get(url, { agent, headers: { accept: image.mediaType } }, (response) => {
    const status = String(response.headers["cache-status"]);
    response.resume();
    response.once("end", () => {
      if (response.statusCode !== 200)
        reject(new Error(`${url.pathname} was answered ${response.statusCode}`));
      else resolve({ ...poll, milliseconds: performance.now() - start, waited: status.includes("fwd=") });
    });
    response.once("error", reject);
  });
  request.once("error", reject);
  return await promise;
}

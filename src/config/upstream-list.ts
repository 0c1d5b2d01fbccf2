// Rules between upstreams. Like those of consistency.ts they look at what was set.
import { type Entry, problemAt, textOf, type UpstreamInput } from "./entry.ts";
import { nearest } from "./nearest.ts";
import { formatPosition, type Problem, quote } from "./problem.ts";
import type { UpstreamKey } from "./settings.ts";

/** A word an upstream takes for itself, and where that is written. */
interface Claim {
  readonly upstream: UpstreamInput;
  readonly word: string;
  readonly entry: Entry;
  readonly label: string;
}

/** What contradicts what over all upstreams. */
export function upstreamListProblems(upstreams: readonly UpstreamInput[]): Problem[] {
  const names = claims(upstreams, "upstream.name");
  const components = claims(upstreams, "upstream.component");
  return [
    ...repeated(names),
    ...repeated(components),
    ...repeated(claims(upstreams, "upstream.namespaces")),
    ...repeated(claims(upstreams, "upstream.hosts")),
    ...componentsThatAreNames(components, names),
    ...chainProblems(upstreams),
  ];
}

/** Namespaces that are named in the configuration, in lower case. */
export function namedNamespaces(upstreams: readonly UpstreamInput[]): string[] {
  return claims(upstreams, "upstream.namespaces").map(({ word }) => word);
}

function claims(upstreams: readonly UpstreamInput[], key: UpstreamKey): Claim[] {
  return upstreams.flatMap((upstream) => {
    const entry = upstream.entries.get(key);
    if (entry === undefined) return [];
    const { input, label } = entry;
    const words = typeof input === "string" ? [[input, label] as const] : itemsOf(input, label);
    return words.map(([word, label]) => ({ upstream, word: word.trim().toLowerCase(), entry, label }));
  });
}

function itemsOf(input: unknown, label: string): (readonly [word: string, label: string])[] {
  const items: readonly unknown[] = Array.isArray(input) ? input : [];
  return items.map((item, index) => [String(item), `${label}[${index}]`]);
}

/** A word counts for the upstream that has it first; twice in one upstream does no harm. */
function repeated(all: readonly Claim[]): Problem[] {
  const first = new Map<string, Claim>();
  const problems: Problem[] = [];
  for (const claim of all) {
    const owner = first.get(claim.word);
    if (owner === undefined) first.set(claim.word, claim);
    else if (owner.upstream !== claim.upstream)
      problems.push(
        problemAt(
          claim.entry,
          `found ${quote(claim.word)}, which ${placeOf(owner)} has already`,
          claim.label,
        ),
      );
  }
  return problems;
}

/** `/hub/v2/` and `/v2/hub/` must not lead to two registries. */
function componentsThatAreNames(components: readonly Claim[], names: readonly Claim[]): Problem[] {
  return components.flatMap(({ upstream, word, entry }) => {
    const other = names.find((name) => name.word === word && name.upstream !== upstream);
    if (other === undefined) return [];
    const expected = "expected the name of this one or another word";
    return problemAt(
      entry,
      `found ${quote(word)}, which is the name of another: ${placeOf(other)}; ${expected}`,
    );
  });
}

function placeOf({ entry, label }: Claim): string {
  const position = entry.locate?.(label) ?? entry.locate?.(entry.label);
  return position === undefined ? label : `${label} (${formatPosition(position)})`;
}

interface Link {
  readonly from: string;
  readonly to: string;
  readonly entry: Entry;
}

/** What `next` names is another upstream, and no chain comes round to its beginning. */
function chainProblems(upstreams: readonly UpstreamInput[]): Problem[] {
  const links = upstreams.flatMap(linkOf);
  const names = upstreams.flatMap(({ entries }) => textOf(entries.get("upstream.name")) ?? []);
  const problems: Problem[] = [];
  const circled = new Set<string>();
  for (const { from, to, entry } of links) {
    if (to === from) problems.push(problemAt(entry, "found its own name, expected another upstream"));
    else if (!names.includes(to))
      problems.push(
        problemAt(
          entry,
          unknownName(
            to,
            names.filter((name) => name !== from),
          ),
        ),
      );
    else if (!circled.has(from)) {
      const circle = circleFrom(from, links);
      for (const name of circle) circled.add(name);
      if (circle.length > 0) {
        const shown = [...circle, from].join(" -> ");
        problems.push(problemAt(entry, `found a circle, ${shown}, expected a chain that ends`));
      }
    }
  }
  return problems;
}

function linkOf({ entries }: UpstreamInput): Link[] {
  const entry = entries.get("upstream.next");
  const from = textOf(entries.get("upstream.name")) ?? "upstream";
  const input = entry?.input;
  if (entry === undefined || typeof input !== "object" || !("upstream" in input)) return [];
  return [{ from, to: (input.upstream ?? "").trim(), entry }];
}

/** The names from `first` on, when following `next` leads back to it; otherwise none. */
function circleFrom(first: string, links: readonly Link[]): string[] {
  const next = new Map(links.map(({ from, to }) => [from, to]));
  const circle = [first];
  for (
    let name = next.get(first);
    name !== undefined && circle.length <= links.length;
    name = next.get(name)
  ) {
    if (name === first) return circle;
    circle.push(name);
  }
  return [];
}

function unknownName(name: string, names: readonly string[]): string {
  if (names.length === 0)
    return `found ${quote(name)}, but there is no other upstream; list them under upstreams`;
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return `found ${quote(name)}, expected one of ${names.join(", ")}${hint}`;
}

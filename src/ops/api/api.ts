// The versioned API of the ops listener, for programs: the page and the commands ask it, too.
import type { NodeSummary } from "../../ports/datacenter/nodes.ts";
import { isMonth, monthExpected } from "../../telemetry/savings/report.ts";
import type { DatacenterSavings } from "../../telemetry/savings/savings-document.ts";
import { jsonAnswer, type OpsAnswer } from "../answer.ts";
import type { TagReport } from "../history/tag-report.ts";
import type { DatacenterDocument } from "../stats/datacenter.ts";
import { longestReference, type Unreadable } from "../stats/image-reference.ts";
import { daysExpected, daysOf } from "../stats/readiness.ts";
import type { Explanation, Readiness, StatsDocument } from "../stats/stats-document.ts";
import { openApiDocument } from "./openapi.ts";

export interface ApiOptions {
  /** Of this program. */
  readonly version: string;
  readonly node: () => NodeSummary;
  readonly datacenter: () => DatacenterDocument;
  readonly stats: () => StatsDocument;
  /** See StatsPagesOptions. */
  readonly explain: (reference: string) => Promise<Explanation>;
  /** Of images pulled in the last so many days; undefined when too many such answers are being made. */
  readonly readiness: (days: number) => Promise<Readiness | undefined>;
  /** What all nodes have saved in a month, in this one unless said, or in `all` that are kept. Rejects with StoreError. */
  readonly savings: (month?: string) => Promise<DatacenterSavings>;
  /** What all nodes have seen a tag name. Rejects with StoreError. */
  readonly tagReport: (reference: string) => Promise<TagReport | Unreadable>;
}

export interface Api {
  readonly paths: readonly string[];
  /** The answer to GET of one of its paths. Rejects as what it asks does. */
  answer(path: string, query: URLSearchParams): Promise<OpsAnswer>;
}

export function createApi({
  version,
  node,
  datacenter,
  stats,
  explain,
  readiness,
  savings,
  tagReport,
}: ApiOptions): Api {
  const document = openApiDocument(version);
  const answers: Readonly<Record<string, (query: URLSearchParams) => OpsAnswer | Promise<OpsAnswer>>> = {
    "/api/v1/openapi.json": () => jsonAnswer(200, document),
    "/api/v1/node": () => jsonAnswer(200, node()),
    "/api/v1/datacenter": () => jsonAnswer(200, datacenter()),
    "/api/v1/stats": () => jsonAnswer(200, stats()),
    async "/api/v1/why"(query) {
      const reference = referenceIn(query);
      if (typeof reference !== "string") return reference;
      const explanation = await explain(reference);
      return explanation.kind === "unreadable"
        ? unreadable(reference, explanation.reason)
        : jsonAnswer(200, explanation);
    },
    async "/api/v1/history"(query) {
      const reference = referenceIn(query);
      if (typeof reference !== "string") return reference;
      const report = await tagReport(reference);
      return "problem" in report ? unreadable(reference, report.problem) : jsonAnswer(200, report);
    },
    async "/api/v1/readiness"(query) {
      const days = daysOf(query.get("days"));
      if (days === undefined) return refused(daysExpected);
      const found = await readiness(days);
      return found === undefined ? busy : jsonAnswer(200, found);
    },
    async "/api/v1/savings"(query) {
      const month = query.get("month") ?? undefined;
      if (month !== undefined && !isMonth(month)) return refused(monthExpected);
      return jsonAnswer(200, await savings(month));
    },
  };
  return {
    paths: Object.keys(answers),
    async answer(path, query) {
      const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
      return answer === undefined ? refused(`there is no ${path}`) : await answer(query);
    },
  };
}

const busy: OpsAnswer = {
  status: 503,
  body: "too many such questions wait for their answers; ask again in 10 s\n",
  headers: { "retry-after": "10" },
};

/** What is asked about, or why it cannot be. */
function referenceIn(query: URLSearchParams): string | OpsAnswer {
  const reference = query.get("reference")?.trim() ?? "";
  if (reference === "") return refused("?reference= is missing, such as ?reference=team/app:1.0");
  if (reference.length > longestReference)
    return refused(`reference: longer than ${longestReference} characters`);
  return reference;
}

function unreadable(reference: string, reason: string): OpsAnswer {
  return refused(`reference ${JSON.stringify(reference)}: ${reason}`);
}

function refused(why: string): OpsAnswer {
  return { status: 400, body: `${why}\n` };
}

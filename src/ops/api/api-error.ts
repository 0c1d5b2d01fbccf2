// Errors of the API: what was wrong, as JSON. The ops listener says everything else in plain text.
import { z } from "zod";
import { jsonAnswer, type OpsAnswer } from "../answer.ts";

/** Whether every answer at this path is JSON. */
export function isOfApi(path: string): boolean {
  return path === "/api" || path.startsWith("/api/");
}

const codes: Readonly<Record<number, string>> = {
  400: "bad_request",
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  405: "method_not_allowed",
  409: "conflict",
  413: "too_large",
  421: "misdirected",
  429: "too_many_requests",
  500: "failed",
  503: "unavailable",
  507: "no_room",
};

export const errorSchema = z.strictObject({
  error: z.strictObject({
    code: z.enum(Object.values(codes) as [string, ...string[]]),
    /** What was wrong, and what to do about it; for people. */
    message: z.string(),
  }),
});

/** The answer as one of the API when it is plain text, and as it is when it has a type of its own. */
export function apiError(answer: OpsAnswer): OpsAnswer {
  if (answer.type !== undefined) return answer;
  const error = { code: codes[answer.status] ?? "failed", message: answer.body.trim() };
  return { ...answer, ...jsonAnswer(answer.status, { error }) };
}

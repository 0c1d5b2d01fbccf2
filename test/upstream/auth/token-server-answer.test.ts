import t from "tap";
import { readTokenAnswer } from "../../../src/upstream/auth/token-server.ts";

const now = Date.parse("2026-01-01T00:00:00Z");

function read(answer: unknown, date?: string) {
  const body = Buffer.from(typeof answer === "string" ? answer : JSON.stringify(answer));
  return readTokenAnswer(body, date, now);
}

/** Seconds from now for which a token is used. */
const secondsOf = (answer: object, date?: string) =>
  ((read({ token: "t", ...answer }, date)?.usableUntil ?? Number.NaN) - now) / 1000;

t.test("the token is in `token` or in `access_token`", async (t) => {
  t.equal(read({ token: "a" })?.bearer, "Bearer a");
  t.equal(read({ access_token: "b" })?.bearer, "Bearer b");
  t.equal(read({ token: "a", access_token: "b", refresh_token: "c" })?.bearer, "Bearer a");
  t.equal(read({ token: "", access_token: "b" })?.bearer, "Bearer b");
  t.equal(read({ token: "a" })?.receivedAt, now);
});

t.test("what is no token", async (t) => {
  const answers = [
    "",
    "<html>",
    "{",
    "null",
    "7",
    '"token"',
    "[]",
    {},
    { token: 7 },
    { token: "" },
    { token: "a b" },
    { token: "a\r\nX: y" },
    { token: "ä" },
    { token: "x".repeat(40_000) },
  ];
  for (const answer of answers) t.equal(read(answer), undefined, JSON.stringify(answer).slice(0, 40));
});

t.test("a token is used until 30 s or a tenth of its life before its end", async (t) => {
  t.equal(secondsOf({ expires_in: 3600 }), 3570);
  t.equal(secondsOf({ expires_in: 300 }), 270);
  t.equal(secondsOf({ expires_in: 100 }), 90);
});

t.test("it lives for a minute at least, and when nothing is said", async (t) => {
  for (const expires_in of [undefined, null, 0, 5, 60, -1, "300", Number.NaN, {}]) {
    t.equal(secondsOf({ expires_in }), 54, String(expires_in));
  }
  t.equal(secondsOf(JSON.parse('{"expires_in":1e999}')), 54);
});

t.test("a token that was made earlier ends earlier, by the server's clock", async (t) => {
  const date = "Thu, 01 Jan 2026 05:10:00 GMT";
  t.equal(secondsOf({ expires_in: 1300, issued_at: "2026-01-01T05:05:00Z" }, date), 970);
  t.equal(
    secondsOf({ expires_in: 1300, issued_at: "2026-01-01T06:05:00.000123456+01:00" }, date),
    970,
    "any zone",
  );
});

t.test("a time that makes no sense is the time the answer came", async (t) => {
  const date = "Thu, 01 Jan 2026 05:10:00 GMT";
  for (const [issued_at, header] of [
    ["2026-01-01T05:00:00Z", date],
    ["2026-01-01T05:10:30Z", date],
    ["2020-01-01T00:00:00Z", date],
    ["yesterday", date],
    ["0", date],
    [1_767_243_900, date],
    ["2026-01-01T05:09:00Z", undefined],
    ["2026-01-01T05:09:00Z", "soon"],
  ] as const) {
    t.equal(secondsOf({ expires_in: 300, issued_at }, header), 270, `${issued_at} ${header}`);
  }
});

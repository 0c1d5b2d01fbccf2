import t from "tap";
import { parseHtpasswd } from "../../src/gate/htpasswd.ts";

const hash = `$2y$05$${"a".repeat(53)}`;
const problemOf = (text: string): string | undefined => {
  const parsed = parseHtpasswd(text);
  return "problem" in parsed ? parsed.problem : undefined;
};

t.test("users with bcrypt hashes, as every tool writes them", async (t) => {
  const parsed = parseHtpasswd(
    `# the team\n\nalice:${hash}\r\nbob:${hash.replace("2y", "2b")}  \njürgen:${hash.replace("2y$05", "2a$14")}`,
  );
  t.same("users" in parsed && [...parsed.users.keys()], ["alice", "bob", "jürgen"]);
  t.equal("users" in parsed && parsed.users.get("alice"), hash);
});

t.test("what cannot be used says the line and what to do, and nothing of what is in it", async (t) => {
  const secret = "s3cretValue";
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /^it has no users; add one with htpasswd -B/],
    ["# nobody\n\n", /^it has no users/],
    [`alice:${hash}\nbob:$apr1$x$${secret}\n`, /^line 2 has no bcrypt hash; .*htpasswd -B/],
    [`bob:{SHA}${secret}`, /^line 1 has no bcrypt hash/],
    [`bob:${secret}`, /^line 1 has no bcrypt hash/],
    [`bob:${hash}x`, /^line 1 has no bcrypt hash/],
    [`bob:${hash.replace("2y", "2x")}`, /^line 1 has no bcrypt hash/],
    [`bob:${hash}:${secret}`, /^line 1 has no bcrypt hash/],
    [`\n${secret}\n`, /^line 2 is not NAME:HASH; .*htpasswd -B/],
    [`:${hash}`, /^line 1 is not NAME:HASH/],
    [`a\tb:${hash}`, /^line 1 is not NAME:HASH/],
    [`${"n".repeat(256)}:${hash}`, /^line 1 is not NAME:HASH/],
    [`bob:${hash.replace("$05", "$15")}`, /^line 1 has a cost of 15; use one up to 14/],
    [`bob:${hash.replace("$05", "$03")}`, /^line 1 has a cost of 03/],
    [`bob:${hash}\nbob:${hash}`, /^line 2 has a user again/],
    [`#${"x".repeat(1024 * 1024)}\nbob:${hash}`, /^it is larger than 1 MiB$/],
  ];
  for (const [text, says] of cases) {
    const problem = problemOf(text) ?? "";
    t.match(problem, says, text.slice(0, 60));
    t.notMatch(problem, secret);
    t.notMatch(problem, "\n");
  }
});

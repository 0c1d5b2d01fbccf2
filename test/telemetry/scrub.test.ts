import t from "tap";
import { scrub } from "../../src/telemetry/scrub.ts";

t.test("credentials and the queries of URLs go, the rest stays", (t) => {
  const cases: readonly [string, string][] = [
    ["connect ECONNREFUSED 192.0.2.1:443", "connect ECONNREFUSED 192.0.2.1:443"],
    ["GET https://registry.example.com/v2/a/blobs/x", "GET https://registry.example.com/v2/a/blobs/x"],
    ["https://user:s3cret@registry.example.com/v2/", "https://[redacted]@registry.example.com/v2/"],
    ["https://user@registry.example.com", "https://[redacted]@registry.example.com"],
    ["https://s3.example.com/k?X-Sig=abc&t=1 failed", "https://s3.example.com/k?[redacted] failed"],
    ["authorization: Bearer eyJ.a-b_c/d+e==", "authorization: Bearer [redacted]"],
    ["BASIC dXNlcjpwYXNz, then", "BASIC [redacted], then"],
    ["bearers of news", "bearers of news"],
    ["is it late? yes", "is it late? yes"],
    ["/v2/team/app@sha256:00", "/v2/team/app@sha256:00"],
    ["a://u:p@h b://v:q@i", "a://[redacted]@h b://[redacted]@i"],
  ];
  for (const [text, clean] of cases) t.equal(scrub(text, 512), clean, text);
  t.end();
});

t.test("the cut comes after the cleaning, so half a secret never shows", (t) => {
  const text = `${"x".repeat(40)} https://user:s3cret@registry.example.com`;
  for (let length = 0; length < text.length; length++) t.notMatch(scrub(text, length), /user|s3c/);
  t.equal(scrub("abcdef", 3), "abc");
  t.end();
});

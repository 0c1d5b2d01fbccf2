import { createHmac, randomBytes } from "node:crypto";
import t from "tap";
import { createCredentialKey } from "../../src/gate/credential-key.ts";

t.test("it is HMAC-SHA-256, whatever the text and its length", async (t) => {
  const secret = randomBytes(64);
  const keyOf = createCredentialKey(secret);
  const texts = ["", "a", "Basic Y2k6c2VjcmV0", "ü€\u0000\ud83d\ude00", "\ud800 alone", "latin1 \u00ff"];
  for (const length of [55, 56, 63, 64, 65, 4095, 4096, 4097, 20_000])
    texts.push("x".repeat(length), "€".repeat(length));
  // One after the other, then again: nothing of a text is left for the next.
  for (const text of [...texts, ...texts.reverse()])
    t.equal(keyOf(text), createHmac("sha256", secret).update(text).digest("base64"), `${text.length} units`);
});

t.test("nobody else has the same key", async (t) => {
  t.not(createCredentialKey()("Basic Y2k6c2VjcmV0"), createCredentialKey()("Basic Y2k6c2VjcmV0"));
});

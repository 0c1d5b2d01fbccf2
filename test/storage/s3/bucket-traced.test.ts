import t from "tap";
import { within } from "../../../src/ports/tracing/span.ts";
import { digestOf, someBytes } from "../../fixtures/blob-store-suite.ts";
import { recordedSpan } from "../../fixtures/recorded-spans.ts";
import { openS3, s3ConfigOf } from "../../fixtures/s3-fixture.ts";
import { refused, startS3 } from "../../fixtures/scripted-s3.ts";
import { fetchShared, share } from "../../fixtures/shared-blobs-suite.ts";

t.test(
  "what a request waits for in S3 is told, with what failed, and nothing of how it was signed",
  async (t) => {
    const s3 = await startS3(t);
    const { blobs } = openS3(t, s3ConfigOf(s3.url));
    const bytes = someBytes(1_000);
    await share(blobs, bytes);
    const { span, recorded } = recordedSpan();
    await within(span, async () => {
      await fetchShared(blobs, digestOf(bytes));
      s3.fault(() => refused(403, "AccessDenied"));
      await t.rejects(blobs.head(digestOf(bytes)));
    });
    const said = recorded.below.map(({ name, ended }) => `${name} ${ended}`);
    t.strictSame(said, ["s3.open well", "s3.head failed"]);
    t.match(recorded.below[0]?.attributes, { "aws.s3.bucket": /./, "entrepot.action": /sha256:/ });
    t.notMatch(JSON.stringify(recorded), /signature|credential/i);
  },
);

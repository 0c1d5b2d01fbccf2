import t from "tap";
import { plainUpstream } from "../../../src/config/config.ts";
import { dockerPullOf } from "../../../src/ops/stats/docker-pull.ts";
import { parseImageReference, type ReferenceNames } from "../../../src/ops/stats/image-reference.ts";
import { sampleDigest } from "../../fixtures/telemetry-samples.ts";

const url = new URL("https://registry.example.com");
const names: ReferenceNames = {
  upstreams: [
    plainUpstream("hub", url),
    { ...plainUpstream("near", url), component: "n" },
    plainUpstream("nameless", url),
  ],
  own: [],
  port: undefined,
};

t.test("what docker pull takes, wherever there is such a name", (t) => {
  for (const [reference, pull] of [
    ["team/app:1.0", "mirror.example.com:8443/registry/team/app:1.0"],
    [`near/team/app@${sampleDigest}`, `mirror.example.com:8443/registry/n/team/app@${sampleDigest}`],
    ["nameless/team/app:1.0", null],
  ] as const) {
    const image = parseImageReference(reference, names);
    t.notMatch(image, { problem: String }, reference);
    if (!("problem" in image))
      t.equal(dockerPullOf(image, names, "https://mirror.example.com:8443/registry/"), pull, reference);
  }
  t.end();
});

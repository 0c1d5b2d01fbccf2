import t from "tap";
import { annotationsOf, type GivenPlace, placeOf } from "../../src/layout/image-names.ts";
import type { Repository, Tag } from "../../src/oci/name.ts";
import { digestOf } from "../fixtures/images.ts";

const digest = digestOf(Buffer.from("image"));
const refName = "org.opencontainers.image.ref.name";
const team = "team/app" as Repository;
const [v1, v2] = ["1" as Tag, "2" as Tag];

function place(annotations: Readonly<Record<string, string>>, given: GivenPlace = {}) {
  return placeOf({ digest, mediaType: undefined, annotations, descriptor: {} }, given);
}

t.test("what an export writes is where the import puts it, unless another upstream is named", async (t) => {
  for (const tag of [v1, undefined]) {
    const written = annotationsOf({ upstream: "hub", repository: team, tag }, digest, "mirror:5000");
    t.same(place(written), { upstream: "hub", repository: team, tag });
    const given = { upstream: "other", repository: "x/y" as Repository, tag: v2 };
    t.same(place(written, given), { upstream: "other", repository: team, tag });
  }
  const untagged = annotationsOf(
    { upstream: "hub", repository: team, tag: undefined },
    digest,
    "mirror:5000",
  );
  t.equal(untagged[refName], `team/app@${digest}`);
  t.notOk("io.containerd.image.name" in untagged, "no name of a container runtime has a digest alone");
});

t.test("names of other programs", async (t) => {
  const upstream = "hub";
  for (const [annotations, given, repository, tag] of [
    [{ [refName]: "team/app:1" }, {}, "team/app", "1"],
    [{ [refName]: "registry.example.com:5000/team/app:1" }, {}, "team/app", "1"],
    [{ [refName]: "team/app" }, {}, "team/app", "latest"],
    [{ [refName]: `team/app@${digest}` }, {}, "team/app", undefined],
    [{ [refName]: "1", "io.containerd.image.name": "docker.io/library/app:1" }, {}, "library/app", "1"],
    [{ [refName]: "1" }, { repository: team }, "team/app", "1"],
    [{ [refName]: "1" }, { repository: team, tag: v2 }, "team/app", "1"],
    [{ [refName]: "other/name:1" }, { repository: team }, "team/app", "1"],
    [{ [refName]: "NOT A NAME/:" }, { repository: team, tag: v2 }, "team/app", "2"],
    [{}, { repository: team, tag: v2 }, "team/app", "2"],
    [{}, { repository: team }, "team/app", undefined],
  ] as const)
    t.same(
      place(annotations, { upstream, ...given }),
      { upstream, repository, tag },
      JSON.stringify(annotations),
    );
});

t.test("what is not said has to be: which flag says it stands in the message", async (t) => {
  t.throws(() => place({ [refName]: "team/app:1" }), { code: "unnamed", message: /--upstream/ });
  t.throws(() => place({ [refName]: "1" }, { upstream: "hub" }), {
    code: "unnamed",
    message: /"1".*--repository/,
  });
  const broken = { "io.entrepot.upstream": "hub", "io.entrepot.repository": "../x" };
  t.throws(() => place(broken), { code: "unnamed" }, "annotations are text of others");
});

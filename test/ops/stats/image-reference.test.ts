import t from "tap";
import { referenceText } from "../../../src/oci/reference.ts";
import { type NamedUpstream, parseImageReference } from "../../../src/ops/stats/image-reference.ts";

const digest = `sha256:${"a1".repeat(32)}`;
const upstreams: readonly [NamedUpstream, ...NamedUpstream[]] = [
  {
    name: "main",
    namespaces: ["registry.example.com:8443"],
    library: false,
  },
  { name: "hub", component: "dockerhub", namespaces: ["docker.io"], library: true },
  { name: "corp", namespaces: [], library: "strip" },
];

t.test("what is understood", (t) => {
  const cases: readonly [string, string][] = [
    ["team/app:1.0", "main team/app 1.0"],
    ["app", "main app latest"],
    [`team/app@${digest}`, `main team/app ${digest}`],
    [`team/app:1.0@${digest}`, `main team/app ${digest}`],
    ["main/team/app:1", "main team/app 1"],
    ["hub/busybox", "hub library/busybox latest"],
    ["dockerhub/team/x:2", "hub team/x 2"],
    ["docker.io/busybox:1", "hub library/busybox 1"],
    ["corp/library/busybox:1", "corp busybox 1"],
    ["corp/busybox:1", "corp busybox 1"],
    ["registry.example.com:8443/team/app:1", "main team/app 1"],
    ["mirror.example.com:5000/team/app:1", "main team/app 1"],
    ["localhost/team/app", "main team/app latest"],
    ["docker://mirror.example.com/app:1", "main app 1"],
    ["  team/app:1.0  ", "main team/app 1.0"],
    ["hub", "main hub latest"],
  ];
  for (const [text, wanted] of cases) {
    const image = parseImageReference(text, upstreams);
    t.equal(image && `${image.upstream} ${image.repository} ${referenceText(image.reference)}`, wanted, text);
  }
  t.end();
});

t.test("what is not", (t) => {
  for (const text of [
    "",
    ":",
    "/",
    "Team/App",
    "a:b:c",
    "team/app@sha256:1",
    "a b",
    "<img>",
    "../x",
    "@",
    "hub/",
  ])
    t.equal(parseImageReference(text, upstreams), undefined, text);
  t.end();
});

t.test("why it is that upstream", (t) => {
  const [first] = upstreams;
  const chosenBy = (text: string, of = upstreams) => parseImageReference(text, of)?.chosenBy;
  t.equal(chosenBy("dockerhub/team/x:2"), "dockerhub in the reference names it");
  t.equal(chosenBy("docker.io/busybox"), "docker.io in the reference names it");
  t.equal(chosenBy("team/app"), "the reference names none, and it is the first");
  t.equal(chosenBy("team/app", [first]), "it is the only one");
  t.end();
});

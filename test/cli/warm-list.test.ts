import t from "tap";
import { imagesInList, imagesInManifests } from "../../src/cli/warm-list.ts";

t.test("a list has an image a line", async (t) => {
  const text =
    "# for Monday\nteam/app:1.0\n\n  team/web:2 # with a remark\r\nregistry.example.com/x@sha256:a#b\n";
  t.same(imagesInList(text), ["team/app:1.0", "team/web:2", "registry.example.com/x@sha256:a#b"]);
});

t.test(
  "the images of Kubernetes' objects, whatever their kind, each once and by its full name",
  async (t) => {
    const text = `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{ name: a, image: registry.example.com/team/init:1 }]
      containers:
        - { name: b, image: "registry.example.com/team/app:1" }
        - { name: c, image: busybox }
      ephemeralContainers: [{ name: d, image: nicolaka/netshoot:v1 }]
---
apiVersion: batch/v1
kind: CronJob
spec: { jobTemplate: { spec: { template: { spec: { containers: [{ image: registry.example.com/team/job:2 }] } } } } }
---
apiVersion: v1
kind: List
items:
  - kind: Pod
    spec: { containers: [{ image: registry.example.com/team/app:1 }, { name: no-image }, null] }
---
kind: Theirs
spec: { image: not/of-a-container:1, pods: { x: { containers: [{ image: localhost:5000/crd:3 }] } } }
---
`;
    t.same(imagesInManifests(text), [
      "registry.example.com/team/init:1",
      "registry.example.com/team/app:1",
      "docker.io/library/busybox",
      "docker.io/nicolaka/netshoot:v1",
      "registry.example.com/team/job:2",
      "localhost:5000/crd:3",
    ]);
  },
);

t.test("what cannot be read is said", async (t) => {
  t.throws(() => imagesInManifests("a: [1"), /line 1/);
  t.throws(() => imagesInManifests(`${"[".repeat(100)}${"]".repeat(100)}`), /nests too deep/);
  const laughs = [
    "a: &a [x, x]",
    ...[..."bcdefghij"].map((key, at) => `${key}: &${key} [${`*${"abcdefghij"[at]}, `.repeat(9)}]`),
  ];
  t.throws(() => imagesInManifests(laughs.join("\n")), /alias/i);
});

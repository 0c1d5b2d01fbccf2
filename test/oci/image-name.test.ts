import t from "tap";
import { parseImageName, referenceOf } from "../../src/oci/image-name.ts";

const digest = `sha256:${"a".repeat(64)}`;

t.test("names as people write them", async (t) => {
  const cases: readonly [string, string | undefined, string, string | undefined][] = [
    ["app", undefined, "app", "latest"],
    ["team/app:1.0", undefined, "team/app", "1.0"],
    ["registry.example.com/team/app:1.0", "registry.example.com", "team/app", "1.0"],
    ["Registry.example.com:8443/app", "registry.example.com:8443", "app", "latest"],
    ["localhost/app:1", "localhost", "app", "1"],
    ["docker://mirror:5000/team/app", "mirror:5000", "team/app", "latest"],
    [`team/app@${digest}`, undefined, "team/app", digest],
    [`team/app:1.0@${digest}`, undefined, "team/app", digest],
    ["team/app:1.*", undefined, "team/app", undefined],
  ];
  for (const [text, host, repository, reference] of cases) {
    const name = parseImageName(text);
    t.match(name, { host, repository }, text);
    const found = name && referenceOf(name);
    t.equal(found?.kind === "tag" ? found.tag : found?.digest, reference, text);
  }
});

t.test("what is no name", async (t) => {
  for (const text of ["", "UPPER", "team/app:", "team/app@sha256:1", "/app", "a b"])
    t.equal(parseImageName(text), undefined, text);
});

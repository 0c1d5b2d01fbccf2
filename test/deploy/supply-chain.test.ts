// What the program is shipped with: fixed by hashes, without code that runs at the installation, under licenses that let
// everybody ship it, and written down in CycloneDX.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { billOfMaterials, licensesText, productionLibraries } from "../../deploy/third-party.ts";

const root = join(import.meta.dirname, "../..");
const libraries = productionLibraries();
const permissive = ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0", "ISC", "MIT"];

t.test("every library is fixed by a hash, and runs nothing when it is installed", async (t) => {
  t.ok(libraries.some(({ name }) => name === "undici"));
  for (const { name, integrity = "", resolved = "https://", hasInstallScript } of libraries) {
    t.match(integrity, /^sha512-/, name);
    t.match(resolved, /^https:\/\//, name);
    t.not(hasInstallScript, true, `${name} has an install script`);
  }
  const dockerfile = readFileSync(join(root, "deploy/Dockerfile"), "utf8");
  const installs = [...dockerfile.matchAll(/npm (?:ci|install)\b.*/g)].map(([line]) => line);
  t.ok(installs.length > 0);
  for (const line of installs) t.match(line, /^npm ci .*--ignore-scripts/);
});

t.test("licenses: permissive ones, all listed", async (t) => {
  for (const { name, license = "none" } of libraries)
    t.ok(permissive.includes(license), `${name}: ${license}`);
  const listed = readFileSync(join(root, "THIRD-PARTY-LICENSES"), "utf8");
  t.equal(listed, licensesText(libraries), "npm run licenses >THIRD-PARTY-LICENSES");
});

t.test("the bill of materials names what is shipped, each with its hash and license", async (t) => {
  const sbom = billOfMaterials(libraries) as {
    components: {
      name: string;
      purl: string;
      hashes: { content: string }[];
      licenses: { license: { id: string } }[];
    }[];
  };
  t.match(sbom, {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    metadata: {
      component: {
        name: "entrepot",
        purl: /^pkg:npm\/entrepot@\d/,
        licenses: [{ license: { id: "Apache-2.0" } }],
      },
    },
  });
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const named = new Set(sbom.components.map(({ name }) => name));
  for (const [name, range] of Object.entries(dependencies))
    t.ok(named.has(/^npm:(.+)@/.exec(range)?.[1] ?? name), `${name} is in it`);
  for (const { purl, hashes, licenses } of sbom.components) {
    t.match(purl, /^pkg:npm\/(?:%40[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+$/);
    t.match(hashes, [{ alg: "SHA-512", content: /^[0-9a-f]{128}$/ }], purl);
    t.ok(permissive.includes(licenses[0]?.license.id ?? ""), purl);
  }
  t.notOk(named.has("typescript"), "nothing that only builds or tests");
});

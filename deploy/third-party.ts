// What the program is shipped with besides itself, read from the lock file: a list of licenses (npm run licenses) and a bill
// of materials in CycloneDX (npm run sbom). Not npm's own: with --omit dev npm 11 leaves out every library that a
// development dependency needs as well, of ours lru-cache, socks, yaml and five more.
import { readFileSync } from "node:fs";

interface Locked {
  readonly version: string;
  /** An SPDX expression, as the package names it. */
  readonly license?: string;
  /** Algorithm, hyphen and hash in base64. */
  readonly integrity?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  /** It may be missing. */
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}

export interface Library extends Locked {
  /** As it is published, which may be another name than it is imported by. */
  readonly name: string;
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));
}

/** What `npm ci --omit=dev` installs, each name and version once, in their order. */
export function productionLibraries(): readonly Library[] {
  const { packages } = readJson("package-lock.json") as {
    packages: Record<string, Locked & { readonly name?: string }>;
  };
  const libraries = new Map<string, Library>();
  for (const [path, locked] of Object.entries(packages)) {
    if (path === "" || locked.dev === true) continue;
    const name = locked.name ?? path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    libraries.set(`${name} ${locked.version}`, { ...locked, name });
  }
  return [...libraries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, library]) => library);
}

export function licensesText(libraries: readonly Library[]): string {
  const lines = libraries.map(({ name, version, license }) => `${name} ${version}: ${license}`);
  return `Entrepot itself is under the Apache License 2.0 (LICENSE). It is shipped with these libraries, each under its own
license, whose text stands in the library's folder of node_modules. Written by npm run licenses; do not edit.

${lines.join("\n")}
`;
}

/** CycloneDX 1.5, JSON. The same lock file gives the same text. */
export function billOfMaterials(libraries: readonly Library[]): object {
  const { name, version, license, description } = readJson("package.json") as Record<string, string>;
  const own = { type: "application", "bom-ref": purlOf(`${name}`, `${version}`), name, version, description };
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: { component: { ...own, purl: own["bom-ref"], licenses: [{ license: { id: license } }] } },
    components: libraries.map(({ name, version, license, optional, integrity = "" }) => {
      const [algorithm = "", hash = ""] = integrity.split("-");
      const purl = purlOf(name, version);
      return {
        type: "library",
        "bom-ref": purl,
        name,
        version,
        scope: optional === true ? "optional" : "required",
        purl,
        hashes: [
          { alg: algorithm.replace("sha", "SHA-"), content: Buffer.from(hash, "base64").toString("hex") },
        ],
        licenses: [{ license: { id: license } }],
      };
    }),
  };
}

/** https://github.com/package-url/purl-spec: the scope of npm is a namespace, whose @ is escaped. */
function purlOf(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

if (import.meta.main) {
  const libraries = productionLibraries();
  const isSbom = process.argv[2] === "sbom";
  process.stdout.write(
    isSbom ? `${JSON.stringify(billOfMaterials(libraries), undefined, 2)}\n` : licensesText(libraries),
  );
}

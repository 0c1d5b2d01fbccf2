// npm run deb: a Debian package of what npm run build has made, with the pinned Node and the libraries of production, by dpkg-deb
// alone. Nothing is fetched: everything comes out of this checkout and its node_modules.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const root = join(import.meta.dirname, "../..");
const here = import.meta.dirname;
const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** As dh_strip has it. */
const stripped = ["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"];

export interface PackageOptions {
  /** Where the package is written; made when missing. */
  readonly directory: string;
  /** That of package.json unless given. */
  readonly version?: string;
  /** none is for tests: xz takes most of the time. */
  readonly compression?: "xz" | "none";
}

/** The path of the package. Throws when dist is not built, or a program fails. The same checkout gives the same bytes. */
export function buildPackage({ directory, compression = "xz", ...options }: PackageOptions): string {
  const { version: own } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    version: string;
  };
  const { version = own } = options;
  const architecture = architectures[process.arch];
  if (architecture === undefined) throw new Error(`there is no Debian architecture for ${process.arch} here`);
  if (!existsSync(join(root, "dist/main.js"))) throw new Error("dist is not built: npm run build");
  const epoch = process.env.SOURCE_DATE_EPOCH ?? lastCommit();
  const stage = mkdtempSync(join(tmpdir(), "entrepot-deb-"));
  try {
    program(stage);
    service(stage);
    shell(stage);
    documents(stage, version, epoch);
    removeEmpty(stage);
    normalizeModes(stage);
    control(stage, version, architecture);
    mkdirSync(directory, { recursive: true });
    const file = join(directory, `entrepot_${version}_${architecture}.deb`);
    // Level 1 is a seventh larger than 6 and takes a fifth of the time.
    const packed = compression === "xz" ? ["-Zxz", "-z1"] : ["-Znone"];
    execFileSync("dpkg-deb", ["--root-owner-group", ...packed, "--build", stage, file], {
      env: { ...process.env, SOURCE_DATE_EPOCH: epoch },
      stdio: ["ignore", "ignore", "inherit"],
    });
    return file;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Seconds since 1970: what is newer in the package gets this date. Now, outside of a checkout of git. */
function lastCommit(): string {
  try {
    return execFileSync("git", ["log", "-1", "--format=%ct"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return `${Math.floor(Date.now() / 1000)}`;
  }
}

/** Node without its symbols, the program, its libraries, and the command. */
function program(stage: string): void {
  const to = join(stage, "usr/lib/entrepot");
  mkdirSync(join(to, "bin"), { recursive: true });
  const node = join(to, "bin/node");
  execFileSync("strip", [...stripped, "-o", node, join(root, "node_modules/node/bin/node")]);
  copy(join(root, "dist"), join(to, "dist"));
  rmSync(join(to, "dist/entrepot.1"), { force: true });
  rmSync(join(to, "dist/sbom.cdx.json"), { force: true });
  copy(join(root, "package.json"), join(to, "package.json"));
  for (const path of libraries()) copy(join(root, path), join(to, path), isLibraryFile);
  for (const addon of globSync("node_modules/**/*.node", { cwd: to }))
    execFileSync("strip", [...stripped, join(to, addon)]);
  write(
    join(stage, "usr/bin/entrepot"),
    '#!/bin/sh\nexec /usr/lib/entrepot/bin/node --disable-sigusr1 /usr/lib/entrepot/dist/main.js "$@"\n',
    0o755,
  );
}

/** Folders that `npm ci --omit=dev` installs on this machine; optional ones for others are not there. */
function libraries(): readonly string[] {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
  };
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== "" && dev !== true)
    .filter(([path, { optional }]) => {
      if (existsSync(join(root, path))) return true;
      if (optional === true) return false;
      throw new Error(`${path} is not installed: npm ci`);
    })
    .map(([path]) => path);
}

/** What runs, and licenses: no declarations, sources, maps, documents, tests, nor what only another runtime (Bare) loads. */
function isLibraryFile(path: string): boolean {
  const name = basename(path);
  if (/licen[cs]e|notice|copying/i.test(name)) return true;
  if (/^\.|\.(?:bare|map|[cm]?ts|tsx|md|markdown|flow|html|sh)$/i.test(name)) return false;
  return !/\/node_modules\/(?:@[^/]+\/)?[^/]+\/(?:tests?|docs?|benchmarks?|examples?)$/.test(path);
}

function service(stage: string): void {
  const systemd = join(stage, "usr/lib/systemd/system");
  copy(join(here, "../systemd/entrepot.service"), join(systemd, "entrepot.service"));
  copy(join(here, "package.conf"), join(systemd, "entrepot.service.d/package.conf"));
  copy(join(here, "sysusers.conf"), join(stage, "usr/lib/sysusers.d/entrepot.conf"));
  copy(join(here, "tmpfiles.conf"), join(stage, "usr/lib/tmpfiles.d/entrepot.conf"));
  copy(join(here, "entrepot.yaml"), join(stage, "etc/entrepot/entrepot.yaml"));
}

/** Completions and the manual page, printed by the program as it stands in the package. */
function shell(stage: string): void {
  const to = join(stage, "usr/lib/entrepot");
  const print = (...args: readonly string[]) =>
    execFileSync(join(to, "bin/node"), [join(to, "dist/main.js"), ...args], {
      encoding: "utf8",
      env: {},
      maxBuffer: 16 * 1024 * 1024,
    });
  write(join(stage, "usr/share/bash-completion/completions/entrepot"), print("completion", "bash"));
  write(join(stage, "usr/share/zsh/vendor-completions/_entrepot"), print("completion", "zsh"));
  write(join(stage, "usr/share/fish/vendor_completions.d/entrepot.fish"), print("completion", "fish"));
  write(join(stage, "usr/share/man/man1/entrepot.1.gz"), compressed(print("man")));
}

function documents(stage: string, version: string, epoch: string): void {
  const to = join(stage, "usr/share/doc/entrepot");
  write(join(to, "copyright"), copyright());
  const date = new Date(Number(epoch) * 1000).toUTCString().replace("GMT", "+0000");
  const entry = `entrepot (${version}) unstable; urgency=medium\n\n  * What has changed: CHANGELOG.md.gz.\n\n -- ${maintainer()}  ${date}\n`;
  write(join(to, "changelog.gz"), compressed(entry));
  write(join(to, "CHANGELOG.md.gz"), compressed(readFileSync(join(root, "CHANGELOG.md"))));
  for (const name of ["README.md", "SECURITY.md"]) copy(join(root, name), join(to, name));
  copy(join(root, "docs"), join(to, "docs"), (path) => path.endsWith(".md"));
  for (const name of [
    "deploy/prometheus",
    "deploy/grafana",
    "deploy/telegraf",
    "deploy/entrepot.schema.json",
    "haproxy",
  ])
    copy(join(root, name), join(to, "examples", basename(name)));
  const sbom = execFileSync(process.execPath, [join(here, "../third-party.ts"), "sbom"], {
    maxBuffer: 16 * 1024 * 1024,
  });
  write(join(to, "sbom.cdx.json.gz"), compressed(sbom));
  write(join(stage, "usr/share/lintian/overrides/entrepot"), readFileSync(join(here, "lintian-overrides")));
}

/** Node is under its own licenses, whose text is long and stands here as a whole. */
function copyright(): string {
  const node = globSync("node_modules/node/node_modules/node-*/LICENSE", { cwd: root })[0];
  if (node === undefined) throw new Error("the LICENSE of Node is not in node_modules/node: npm ci");
  return `${readFileSync(join(root, "THIRD-PARTY-LICENSES"), "utf8")
    .replace("license (LICENSE)", "license")
    .replace(
      "in the library's folder of node_modules",
      "in the library's folder of /usr/lib/entrepot/node_modules",
    )
    .replace("License 2.0 (LICENSE)", "License 2.0")
    .replace(". Written by npm run licenses; do not edit.", ".")}
Copyright of Entrepot: its authors. The text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.

/usr/lib/entrepot/bin/node is Node.js, as its project publishes it, without symbols. Its license:

${readFileSync(join(root, node), "utf8")}`;
}

/** Who answers for the package: whoever has built it, by the variables all tools of Debian know. */
function maintainer(): string {
  const { DEBFULLNAME = "Entrepot", DEBEMAIL = "entrepot@example.com" } = process.env;
  return `${DEBFULLNAME} <${DEBEMAIL}>`;
}

function control(stage: string, version: string, architecture: string): void {
  const to = join(stage, "DEBIAN");
  mkdirSync(to);
  const files = readdirSync(stage, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(stage.length + 1))
    .filter((path) => !path.startsWith("DEBIAN/"))
    .sort();
  const kilobytes = files.reduce((sum, path) => sum + Math.ceil(statSync(join(stage, path)).size / 1024), 0);
  write(
    join(to, "control"),
    `Package: entrepot
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer()}
Installed-Size: ${kilobytes}
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 8), systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Recommends: ca-certificates, systemd
Suggests: haproxy, prometheus
Section: net
Priority: optional
Description: pull-through cache for private container registries
 One mirror per datacenter, in front of a registry that is far away: the first
 pull of a layer crosses the long link once, every other pull is served from
 here. Docker, containerd, podman and everything else that speaks the OCI
 distribution API pull through it.
 .
 The package has a Node.js of its own.
`,
  );
  const sums = files
    .filter((path) => !path.startsWith("etc/"))
    .map(
      (path) =>
        `${createHash("md5")
          .update(readFileSync(join(stage, path)))
          .digest("hex")}  ${path}\n`,
    );
  write(join(to, "md5sums"), sums.join(""));
  write(join(to, "conffiles"), "/etc/entrepot/entrepot.yaml\n");
  for (const script of ["postinst", "prerm", "postrm"])
    write(join(to, script), readFileSync(join(here, script)), 0o755);
}

/** Folders in which nothing is left. */
function removeEmpty(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    removeEmpty(path);
    if (readdirSync(path).length === 0) rmdirSync(path);
  }
}

/** Whatever the umask and the modes of node_modules were. */
function normalizeModes(stage: string): void {
  chmodSync(stage, 0o755);
  for (const entry of readdirSync(stage, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const executable =
      entry.isDirectory() || /^usr\/(?:bin\/|lib\/entrepot\/bin\/)/.test(path.slice(stage.length + 1));
    chmodSync(path, executable ? 0o755 : 0o644);
  }
}

/** `filter` gets the paths of files and folders below `from`. */
function copy(from: string, to: string, filter: (path: string) => boolean = () => true): void {
  mkdirSync(dirname(to), { recursive: true });
  // A library's own node_modules are libraries of the list.
  const isNested = (path: string) => path !== from && basename(path) === "node_modules";
  cpSync(from, to, {
    recursive: true,
    filter: (path) => !isNested(path) && (path === from || filter(path)),
  });
}

function write(path: string, content: string | Uint8Array, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
}

/** As `gzip -9n`: the same for the same text. */
function compressed(content: string | Uint8Array): Buffer {
  return gzipSync(content, { level: 9 });
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { out: { type: "string", default: root } } });
  const file = buildPackage({ directory: values.out });
  process.stdout.write(`${file}: ${(statSync(file).size / 1e6).toFixed(1)} MB\n`);
}

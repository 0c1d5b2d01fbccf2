// deploy/Dockerfile: what its stages run, run here, without docker. The image itself is built in test/system/image.test.ts.
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { attempt, Child, run } from "./fixtures/child.ts";
import { searchPath } from "./fixtures/requires.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

const root = join(import.meta.dirname, "../..");
const dockerfile = readFileSync(join(root, "deploy/Dockerfile"), "utf8").replaceAll("\\\n", "");
/** For `env`: without the loader that the test runner gives to children. */
const bare = ["-u", "NODE_OPTIONS"];

t.test("the program starts", async (t) => {
  const app = await built(t);
  const program = [...bare, process.execPath, "--preserve-symlinks", "--preserve-symlinks-main"];
  const mirror = new Child(t, "env", [...program, join(app, "dist/main.js"), "serve"], {
    env: {
      ENTREPOT_LISTEN: "127.0.0.1:0",
      ENTREPOT_OPS_LISTEN: "127.0.0.1:0",
      ENTREPOT_UPSTREAM_URL: "http://127.0.0.1:9",
      ENTREPOT_CACHE_DIR: join(app, "cache"),
      ENTREPOT_DRAIN_DELAY: "0s",
    },
  });
  const ops = await mirror.line((line) => /"ops":"([^"]+)"/.exec(line)?.[1]);
  const page = await (await fetch(`http://${ops}/`)).text();
  const files = [...page.matchAll(/"(?:\.?\/)?(page\/[^"]+)"/g)].map(([, path]) => String(path));
  t.ok(files.includes("page/browser/live.js"), "the stats page is compiled too");
  for (const path of files) t.equal((await fetch(`http://${ops}/${path}`)).status, 200, path);
  const command = /^HEALTHCHECK .*?CMD (\[.+\])$/m.exec(dockerfile)?.[1] ?? "[]";
  const [node, ...words] = JSON.parse(command) as string[];
  t.equal(node, "node");
  const healthy = async () => {
    const env = { ENTREPOT_OPS_LISTEN: ops };
    return (await attempt("env", [...bare, process.execPath, ...words], { env })).code;
  };
  t.equal(await healthy(), 0, "the health check is content");
  t.same(await mirror.stop("SIGTERM"), { code: 0, signal: null }, "the stop signal ends it");
  t.equal(await healthy(), 1, "and the health check notices");
});

/** What the last stage holds: the compiled program, and of the libraries only those it may have at run time. */
async function built(t: Test): Promise<string> {
  const app = await workDirectory(t);
  for (const name of ["package.json", "tsconfig.json", "tsconfig.build.json", "src"])
    cpSync(join(root, name), join(app, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(app, "node_modules"));
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    scripts: { build: string };
  };
  // As npm runs it: by a shell, with the package's own programs first.
  const path = `PATH=${join(app, "node_modules/.bin")}:${searchPath}`;
  await run("env", [...bare, path, "sh", "-c", scripts.build], { cwd: app });
  const production = join(app, "production");
  cpSync(join(app, "dist"), join(production, "dist"), { recursive: true });
  cpSync(join(app, "package.json"), join(production, "package.json"));
  for (const path of productionLibraries()) {
    mkdirSync(join(production, dirname(path)), { recursive: true });
    symlinkSync(join(root, path), join(production, path));
  }
  return production;
}

/** Paths of the libraries that `npm ci --omit=dev` installs, without those inside others. */
function productionLibraries(): readonly string[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean; optional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev, devOptional, optional }]) => path !== "" && !dev && !devOptional && !optional)
    .map(([path]) => path)
    .filter((path) => path.lastIndexOf("node_modules/") === 0);
}

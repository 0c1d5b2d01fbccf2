// Real clients where tokens are given: without a login, with a wrong password, with the right one, and with a token that ends
// while they pull.
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import t, { type Test } from "tap";
import { namedAccess, ownTokens, rule } from "../fixtures/access.ts";
import { type Line, type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { run } from "./fixtures/child.ts";
import { type ContainerdOptions, containerdPrograms, startContainerd } from "./fixtures/containerd.ts";
import { dockerPrograms, startDockerd } from "./fixtures/dockerd.ts";
import { type FarRegistry, farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { greeting } from "./fixtures/images.ts";
import { newerClients } from "./fixtures/newer-clients.ts";
import { noInternet } from "./fixtures/no-internet.ts";
import { makePodman, podmanPrograms } from "./fixtures/podman.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(400_000);

const alice = "alice-pw";
/** Everybody may have busybox, alice all else. */
const rules = [rule({ anonymous: true, repositories: ["library/**"] }), rule({ users: ["alice"] })];

interface Place {
  readonly mirror: Mirror;
  readonly host: string;
  /** Lines of the log for requests since the last call. */
  readonly news: () => readonly Line[];
}

async function setUp(t: Test): Promise<Place> {
  return await startBefore(t, await startFarRegistry(t), {});
}

/** A mirror before the far registry. */
async function startBefore(t: Test, { front }: FarRegistry, more: MirrorOptions): Promise<Place> {
  const { username, password } = front;
  const mirror = await startMirror(
    t,
    { url: new URL(front.url), username, password },
    {
      access: { ...namedAccess({ alice }, rules), tokens: ownTokens },
      cache: { dir: await workDirectory(t) },
      ...more,
    },
  );
  let seen = 0;
  const news = () => {
    const lines = mirror.lines.slice(seen).filter(({ msg }) => msg === "request");
    seen = mirror.lines.length;
    return lines;
  };
  return { mirror, host: mirror.url.host, news };
}

/** What a client does, with images removed before every pull. */
interface Client {
  readonly pull: (image: string) => Promise<void>;
  /** Left out: it has no login, and shows its password with every pull. */
  readonly login?: (password: string) => Promise<void>;
  readonly wrong: RegExp;
}

async function check(t: Test, place: Place, client: Client): Promise<void> {
  const { host, news } = place;
  news();
  const free = `${host}/library/busybox:1`;
  const own = `${host}/made/app:1`;
  await t.test("without a login", async (t) => {
    await client.pull(free);
    const lines = news();
    t.ok(
      lines.some(({ route }) => route === "token"),
      "a token was fetched",
    );
    t.ok(
      lines.every(({ user }) => user === undefined),
      "nobody's",
    );
    await t.rejects(client.pull(own), /unauthorized|denied|authentication required|authorization failed/i);
  });
  await t.test("with a wrong password, and the right one", async (t) => {
    if (client.login !== undefined) await t.rejects(client.login("wrong"), client.wrong);
    await client.login?.(alice);
    news();
    await client.pull(own);
    const users = new Set(news().flatMap(({ status, user }) => (status === 200 ? [user] : [])));
    t.same([...users], ["alice"]);
  });
}

t.test("docker", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms)) return;
  const place = await setUp(t);
  const daemon = await startDockerd(t, place.mirror.url.href);
  await check(t, place, {
    async pull(image) {
      await daemon.forget();
      await daemon.docker("pull", image);
      t.equal(await daemon.greet(image), greeting, "it runs");
    },
    login: async (secret) => void (await daemon.docker("login", "-u", "alice", "-p", secret, place.host)),
    wrong: /unauthorized/i,
  });
});

t.test("podman", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...podmanPrograms)) return;
  const place = await setUp(t);
  const podman = await makePodman(t, place.host);
  await check(t, place, {
    async pull(image) {
      await podman.forget();
      await podman.podman("pull", image);
    },
    login: async (secret) =>
      void (await podman.podman("login", "--tls-verify=false", "-u", "alice", "-p", secret, place.host)),
    wrong: /invalid username\/password|unauthorized/i,
  });
});

t.test("skopeo", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const place = await setUp(t);
  const authFile = join(await workDirectory(t), "auth.json");
  const skopeo = (...args: string[]): Promise<string> => run("skopeo", args, { env: noInternet });
  await check(t, place, {
    async pull(image) {
      const to = `oci:${join(await workDirectory(t), "copy")}:1`;
      await skopeo(
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--src-authfile",
        authFile,
        `docker://${image}`,
        to,
      );
    },
    login: async (secret) =>
      void (await skopeo(
        ...["login", "--tls-verify=false", "--authfile", authFile, "-u", "alice", "-p", secret, place.host],
      )),
    wrong: /invalid username\/password|unauthorized/i,
  });
});

async function checkContainerd(t: Test, options?: ContainerdOptions): Promise<void> {
  const place = await setUp(t);
  const containerd = await startContainerd(t, options);
  await containerd.mirror(place.host, `http://${place.host}`);
  let credentials: string[] = [];
  const client: Client = {
    async pull(image) {
      await containerd.forget();
      await containerd.pull(image, ...credentials);
    },
    async login(secret) {
      credentials = ["--user", `alice:${secret}`];
      await client.pull(`${place.host}/made/app:1`);
    },
    wrong: /unauthorized|authorization failed/i,
  };
  await check(t, place, client);
}

t.test("containerd", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...containerdPrograms)) return;
  await checkContainerd(t);
});

t.test("newer clients", async (t) => {
  if (!requires(t, ...farRegistryPrograms, "root", "unshare", "iptables")) return;
  const programs = await newerClients(t);
  if (programs === undefined) return;

  await t.test("containerd 2", (t) => checkContainerd(t, { programs }));

  await t.test("crane", async (t) => {
    const place = await setUp(t);
    // Where it keeps logins, which it does not try.
    const env = { ...noInternet, DOCKER_CONFIG: await workDirectory(t) };
    const crane = (...args: string[]) => programs.run("crane", args, { env });
    const client: Client = {
      async pull(image) {
        await crane("pull", "--insecure", "--format", "oci", image, join(await workDirectory(t), "copy"));
      },
      async login(secret) {
        await crane("auth", "login", "-u", "alice", "-p", secret, place.host);
        await client.pull(`${place.host}/made/app:1`);
      },
      wrong: /unauthorized/i,
    };
    await check(t, place, client);
  });

  await t.test("oras", async (t) => {
    const place = await setUp(t);
    const logins = join(await workDirectory(t), "logins.json");
    const oras = (...args: string[]) => programs.run("oras", args, { env: noInternet });
    await check(t, place, {
      async pull(image) {
        const to = `${join(await workDirectory(t), "copy")}:1`;
        const from = ["--from-plain-http", "--from-registry-config", logins];
        await oras("copy", ...from, "--to-oci-layout", image, to);
      },
      login: async (secret) =>
        void (await oras(
          ...["login", "--plain-http", "--registry-config", logins, "-u", "alice", "-p", secret, place.host],
        )),
      wrong: /unauthorized|invalid/i,
    });
  });
});

/** Milliseconds for which clients use a token of a minute, which is the least they believe in. */
const lifetime = 60_000;
const patience = 200_000;

t.test("a token that ends in the middle of a pull is renewed", async (t) => {
  if (!requires(t, ...farRegistryPrograms, ...dockerPrograms, ...podmanPrograms)) return;
  const far = await startFarRegistry(t);
  const time = { passed: 0 };
  const now = () => Date.now() + time.passed;
  const { mirror, host, news } = await startBefore(t, far, {
    access: { ...namedAccess({ alice }, rules), tokens: { ...ownTokens, lifetime } },
    clock: now,
    steady: now,
    upstream: { idleTimeout: 600_000 },
  });
  const image = `${host}/made/app:1`;
  const daemon = await startDockerd(t, mirror.url.href);
  const podman = await makePodman(t, host);
  await daemon.docker("login", "-u", "alice", "-p", alice, host);
  await podman.podman("login", "--tls-verify=false", "-u", "alice", "-p", alice, host);
  // docker fetches three layers at once and the last one after them, podman here one after the other.
  const layers = far.images.app.blobs.slice(-4, -1).map((digest) => far.front.hold(digest, 0.5));
  news();
  const pulls = [daemon.pull(image, patience), podman.pullInTurn(image, patience)];
  await Promise.all(layers.map(({ reached }) => reached));
  const seen: Line[] = [];
  const agents = (route: string) => {
    seen.push(...news());
    return new Set(seen.filter((line) => line.route === route).map(({ user_agent: agent }) => agent));
  };
  await until("both have their manifest", () => agents("manifest_tag").size >= 2);
  // By the clocks of the clients, which no test can set.
  await setTimeout(lifetime + 5_000);
  time.passed += 600_000;
  news();
  for (const { release } of layers) release();
  await Promise.all(pulls);
  const lines = news();
  t.same(
    lines.filter(({ status }) => status === 401),
    [],
    "nobody has shown the old one",
  );
  t.ok(
    lines.filter(({ route, status }) => route === "token" && status === 200).length >= 2,
    "each got another",
  );
  t.equal(await daemon.greet(image), greeting, "it runs");
});

// The proxy changes while requests are served, and a tag outlives a proxy that is gone.
import t from "tap";
import { makeImage } from "./fixtures/images.ts";
import { type MirrorOptions, mirrorConfig, startMirror } from "./fixtures/mirror.ts";
import { startProxy } from "./fixtures/scripted-proxy.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000] });
const tagPath = "/v2/team/app/manifests/1";

t.test(
  "a reload sends the next question through the new proxy; the common setting is everybody's",
  async (t) => {
    const registry = await startUpstream(t);
    registry.addImage("team/app", "1", image);
    const { port, pathname } = registry.url;
    const { username, password } = registry;
    const far = { url: new URL(`http://registry.corp.invalid:8080${pathname}`), username, password };
    const proxies = [await startProxy(t), await startProxy(t, { account: "mirror:hunter2" })] as const;
    for (const proxy of proxies) proxy.ports.set("registry.corp.invalid:8080", Number(port));
    const through = (proxy: (typeof proxies)[number]): MirrorOptions => ({
      tags: { ttl: 0 },
      upstream: { proxy: { http: proxy.server(), https: proxy.server(), noProxy: [] } },
    });
    const mirror = await startMirror(t, far, through(proxies[0]));
    const reload = (
      options: MirrorOptions,
      change: { key: string; upstream?: { name: string; key: string } },
    ) =>
      mirror.app.reload({
        ok: true,
        config: mirrorConfig(far, mirror.directory, options),
        warnings: [],
        changes: { applied: [{ ...change, text: `${change.key}: changed` }], needRestart: [] },
      });
    const counts = () => [proxies[0].requests.length, proxies[1].requests.length] as const;

    t.equal((await mirror.get(tagPath)).status, 200);
    const { proxy } = await mirror.line(({ msg }) => msg === "asked through a proxy");
    t.equal(proxy, proxies[0].href(), "it may come from the environment, so the log says which");
    const before = counts();
    t.ok(reload(through(proxies[1]), { key: "proxy" }));
    t.equal((await mirror.get(tagPath)).status, 200);
    t.same(counts()[0], before[0], "nothing more through the first");
    t.ok(proxies[1].requests.length > 0);
    t.ok(
      reload(through(proxies[0]), { key: "upstream.proxy", upstream: { name: "upstream", key: "proxy" } }),
    );
    t.equal((await mirror.get(tagPath)).status, 200);
    t.ok(counts()[0] > before[0]);

    for (const proxy of proxies) await proxy.stop();
    const stale = await mirror.get(tagPath);
    t.match(stale, { status: 200, headers: { "cache-status": /detail=unreachable/ } });
    const told = await mirror.line(({ msg }) => msg === "upstream failed");
    t.match(told.detail, /the proxy http:\/\/127\.0\.0\.1:\d+ could not be reached \(ECONNREFUSED\)/);
    t.notMatch(JSON.stringify(mirror.lines), /hunter2/);
  },
);

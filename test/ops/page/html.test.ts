import t from "tap";
import { escapeHtml, h, toHtml } from "../../../src/ops/page/html.ts";

t.test("text and attributes are escaped, whatever they hold", (t) => {
  t.equal(
    escapeHtml(`<a href="x" title='y'>&</a>`),
    "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;&lt;/a&gt;",
  );
  t.equal(
    toHtml(h("p", { title: '"><script>' }, "<img onerror=alert(1)>", "&")),
    '<p title="&quot;&gt;&lt;script&gt;">&lt;img onerror=alert(1)&gt;&amp;</p>',
  );
  t.end();
});

t.test("what is not there is not written", (t) => {
  const node = h("input", { hidden: true, disabled: false, title: undefined, max: 0 });
  t.equal(toHtml(node), '<input hidden max="0">');
  t.equal(toHtml(h("p", {}, undefined, false, [1, ["2"]], h("br"), "3")), "<p>12<br>3</p>");
  t.end();
});

t.test("texts in a row are one, as they will be in the browser", (t) => {
  t.strictSame(h("p", {}, "a", ["b", 1], h("b"), "c").children, ["ab1", h("b"), "c"]);
  t.end();
});

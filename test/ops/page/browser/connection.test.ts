import t from "tap";
import { Connection } from "../../../../src/ops/page/browser/connection.ts";

t.test("one failure is nothing, two in a row are the node's", (t) => {
  const connection = new Connection(0);
  connection.begins(0, 5_000);
  connection.heard(2_000);
  connection.failed();
  t.equal(connection.lostFor(3_000), undefined);
  connection.heard(4_000);
  connection.failed();
  t.equal(connection.lostFor(5_000), undefined, "it was heard of between them");
  connection.failed();
  t.equal(connection.lostFor(8_000), 4_000);
  connection.heard(9_000);
  t.equal(connection.lostFor(9_000), undefined, "it is back");
  t.end();
});

t.test("silence without any failure is noticed", (t) => {
  const connection = new Connection(0);
  t.equal(connection.lostFor(1_000_000), undefined, "nothing was to come yet");
  connection.begins(1_000_000, 5_000);
  t.equal(connection.lostFor(1_010_000), undefined);
  t.equal(connection.lostFor(1_010_001), 1_010_001, "counted from the last word");
  connection.heard(1_020_000);
  t.equal(connection.lostFor(1_030_000), undefined);
  t.equal(connection.lostFor(1_030_001), 10_001);
  t.end();
});

t.test("a page that was out of sight is given its time again", (t) => {
  const connection = new Connection(0);
  connection.begins(0, 30_000);
  connection.heard(30_000);
  connection.begins(80_000, 5_000);
  t.equal(connection.lostFor(90_000), undefined);
  t.equal(connection.lostFor(90_001), 60_001);
  t.end();
});

// What the records say of a cache's room.
import t from "tap";
import { roomOfSmallBlobs } from "../../src/ports/records.ts";

t.test("small blobs have 3 % of the room, and of a small room up to 5 %", async (t) => {
  t.equal(roomOfSmallBlobs(100e9, 1e6), 3e9);
  t.equal(roomOfSmallBlobs(15e9, 1e6), 512e6, "512 of the largest of them");
  t.equal(roomOfSmallBlobs(1e9, 1e6), 50e6);
  t.equal(roomOfSmallBlobs(1e6, 1_000), 50e3, "the same of a thousandth");
  t.equal(roomOfSmallBlobs(1e9, 1), 30e6, "of blobs of one byte there are many");
});

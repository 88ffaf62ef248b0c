import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { SlotColumn } from '#sutra/engine/vector/slot-column';
import { SlotQueue } from '#sutra/engine/vector/slot-queue';
import { SlotSet } from '#sutra/engine/vector/slot-set';

const slots = fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 300_000 }));

describe('SlotSet', () => {
  it('is a set', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), slots)), (steps) => {
        const set = new SlotSet();
        const model = new Set<number>();
        for (const [add, slot] of steps) {
          expect(add ? set.add(slot) : set.delete(slot)).toBe(
            add ? !model.has(slot) : model.has(slot),
          );
          if (add) model.add(slot);
          else model.delete(slot);
          expect(set.size).toBe(model.size);
          expect(set.has(slot)).toBe(add);
        }
      }),
    );
  });
});

describe('SlotColumn', () => {
  it('keeps a number for a slot, and lists them by slot', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.option(fc.nat()), slots)), (steps) => {
        const column = new SlotColumn();
        const model = new Map<number, number>();
        for (const [value, slot] of steps) {
          if (value === null) {
            expect(column.delete(slot)).toBe(model.delete(slot));
          } else {
            column.set(slot, value);
            model.set(slot, value);
          }
          expect(column.has(slot)).toBe(model.has(slot));
        }
        expect(column.size).toBe(model.size);
        expect([...column.toPairs()]).toEqual([...model].sort(([a], [b]) => a - b).flat());
      }),
    );
  });
});

describe('SlotQueue', () => {
  it('gives slots back in order, each once, over many chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 6_000 }), fc.nat({ max: 6_000 }))), (steps) => {
        const queue = new SlotQueue();
        let model: number[] = [];
        let next = 0;
        for (const [pushes, shifts] of steps) {
          for (let i = 0; i < pushes; i++) {
            queue.push(next);
            queue.push(next);
            model.push(next++);
          }
          expect(queue.has(next)).toBe(false);
          const shifted = Array.from({ length: shifts }, () => queue.shift());
          const given = model.slice(0, shifts);
          expect(shifted.slice(0, given.length)).toEqual(given);
          expect(shifted.slice(given.length).every((slot) => slot === -1)).toBe(true);
          model = model.slice(shifts);
          expect(queue.length).toBe(model.length);
          expect([...queue.toArray()]).toEqual(model);
        }
      }),
      { numRuns: 20 },
    );
  });
});

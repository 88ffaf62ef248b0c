/**
 * Drawings of a neighbourhood, for people: DOT (https://graphviz.org/doc/info/lang.html) and Mermaid
 * (https://mermaid.js.org/syntax/flowchart.html). A node is labelled with its id and the beginning of its content, an arrow
 * with its type, and its confidence where that is not 1. Nodes go by numbers, so that no id can break the syntax, and
 * nothing of the text is left that either language would read as markup.
 */

import { decimal } from './float32.js';
import type { TypeNames } from './type-names.js';
import type { RecordWriter, WrittenAssociation, WrittenConcept } from './writer.js';

/** Characters of content in a label. */
const EXCERPT = 60;

export function dotWriter(types: TypeNames): RecordWriter {
  // Labels know HTML's entities as well as their own escapes.
  const text = (label: string): string =>
    label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('&', '&amp;');
  const numbers = new Map<string, number>();
  return {
    head: 'digraph sutra {\n  node [shape=box];\n',
    tail: '}\n',
    concept: (concept) =>
      `  ${nodeName(numbers, concept.id)} [label="${labelOf(concept).map(text).join('\\n')}"];\n`,
    association: (association) =>
      `  ${nodeName(numbers, association.source)} -> ${nodeName(numbers, association.target)}` +
      ` [label="${text(arrowLabel(association, types))}"];\n`,
  };
}

/** What a quoted Mermaid label would read as its end, as HTML, as Markdown or as an entity. */
const MERMAID_SPECIAL = /["#&<>`*_~[\]{}()|\\]/g;

export function mermaidWriter(types: TypeNames): RecordWriter {
  const text = (label: string): string =>
    label.replace(MERMAID_SPECIAL, (c) => `#${c.charCodeAt(0)};`);
  const numbers = new Map<string, number>();
  return {
    head: 'flowchart LR\n',
    tail: '',
    concept: (concept) =>
      `  ${nodeName(numbers, concept.id)}["${labelOf(concept).map(text).join('<br/>')}"]\n`,
    association: (association) =>
      `  ${nodeName(numbers, association.source)} -->|"${text(arrowLabel(association, types))}"| ` +
      `${nodeName(numbers, association.target)}\n`,
  };
}

function nodeName(numbers: Map<string, number>, id: string): string {
  let number = numbers.get(id);
  if (number === undefined) {
    number = numbers.size;
    numbers.set(id, number);
  }
  return `n${number}`;
}

function labelOf({ id, content }: WrittenConcept): string[] {
  const text = printable(content);
  const excerpt =
    text.length <= EXCERPT ? text : `${text.slice(0, EXCERPT - 1).replace(/\p{Cs}$/u, '')}…`;
  return content === id || excerpt === '' ? [printable(id)] : [printable(id), excerpt];
}

function arrowLabel({ type, confidence }: WrittenAssociation, types: TypeNames): string {
  const name = printable(types.nameOf(type));
  return confidence === 1 ? name : `${name} ${decimal(confidence)}`;
}

/** One line, without control characters and marks that reorder text. */
function printable(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/\p{Bidi_Control}/gu, '')
    .replace(/ {2,}/g, ' ')
    .trim();
}

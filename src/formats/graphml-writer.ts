/**
 * GraphML out. XML cannot hold most control characters: a text with one is given as JSON, in a data element `id_json` or
 * `content_json`, and a node whose id is such a text goes by the 32 hex digits of its key, which name the same concept.
 */

import { decimal } from './float32.js';
import { hexKey } from './hex-key.js';
import type { TypeNames } from './type-names.js';
import type { RecordWriter, WrittenAssociation, WrittenConcept } from './writer.js';

export function graphmlWriter(types: TypeNames): RecordWriter {
  return {
    head: HEAD,
    tail: TAIL,
    concept: nodeElement,
    association: (association) => edgeElement(association, types),
  };
}

/** Characters that XML 1.0 has no way to write. A lone surrogate never comes from a store. */
// eslint-disable-next-line no-control-regex -- control characters are what this finds
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/** Line ends and tabs are written as references, or a reader would normalise them. */
const SPECIAL = /[&<>"\t\n\r\u0085\u2028]/g;
const REFERENCES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};

function xml(text: string): string {
  return text.replace(SPECIAL, (c) => REFERENCES[c] ?? `&#${c.charCodeAt(0)};`);
}

const HEAD =
  `<?xml version="1.0" encoding="UTF-8"?>\n` +
  `<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n` +
  [
    ['node', 'content', 'string'],
    ['node', 'content_json', 'string'],
    ['node', 'id_json', 'string'],
    ['node', 'strength', 'float'],
    ['all', 'confidence', 'float'],
    ['all', 'created_us', 'long'],
    ['node', 'updated_us', 'long'],
    ['node', 'embedding', 'string'],
    ['edge', 'type', 'string'],
  ]
    .map(
      ([of, name, type]) =>
        `  <key id="${name}" for="${of}" attr.name="${name}" attr.type="${type}"/>\n`,
    )
    .join('') +
  `  <graph edgedefault="directed">\n`;

const TAIL = `  </graph>\n</graphml>\n`;

function nodeElement(concept: WrittenConcept): string {
  const { id, content, embedding } = concept;
  const data = (key: string, text: string): string => `<data key="${key}">${text}</data>`;
  // JSON.stringify writes U+FFFE and U+FFFF as they are, and so can XML not.
  const json = (text: string): string =>
    xml(
      JSON.stringify(text).replace(/[\ufffe\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16)}`),
    );
  const hidden = NOT_XML.test(id);
  return (
    `    <node id="${hidden ? hexKey(id) : xml(id)}">` +
    (hidden ? data('id_json', json(id)) : '') +
    (NOT_XML.test(content) ? data('content_json', json(content)) : data('content', xml(content))) +
    data('strength', decimal(concept.strength)) +
    data('confidence', decimal(concept.confidence)) +
    data('created_us', String(concept.createdUs)) +
    data('updated_us', String(concept.updatedUs)) +
    (embedding === undefined ? '' : data('embedding', Array.from(embedding, decimal).join(' '))) +
    `</node>\n`
  );
}

function edgeElement(association: WrittenAssociation, types: TypeNames): string {
  const { createdUs } = association;
  const end = (id: string): string => (NOT_XML.test(id) ? hexKey(id) : xml(id));
  return (
    `    <edge source="${end(association.source)}" target="${end(association.target)}">` +
    `<data key="type">${xml(types.nameOf(association.type))}</data>` +
    `<data key="confidence">${decimal(association.confidence)}</data>` +
    (createdUs === undefined ? '' : `<data key="created_us">${createdUs}</data>`) +
    `</edge>\n`
  );
}

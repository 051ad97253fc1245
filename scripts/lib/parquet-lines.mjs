// Prints the rows of a Parquet file, one a line as JSON, as a reader understands them that is not
// ours: numbers of 64 bits and times as texts of microseconds, bytes in hexadecimal. The last line
// holds the file's metadata.
//
// usage: node parquet-lines.mjs DIRECTORY FILE
// DIRECTORY is what scripts/lib/parquet-reader prints.
import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [directory, path] = process.argv.slice(2).map((one) => resolve(one))
const { parquetMetadata, parquetReadObjects } = await import(pathToFileURL(join(directory, 'hyparquet/src/index.js')))
const { decompress } = createRequire(import.meta.url)(join(directory, 'fzstd'))

const content = readFileSync(path)
const file = content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength)
const metadata = parquetMetadata(file)
const micros = (value) => value
const parsers = {
    timestampFromMilliseconds: micros,
    timestampFromMicroseconds: micros,
    timestampFromNanoseconds: micros,
    stringFromBytes: (bytes) => bytes && new TextDecoder('utf-8', { fatal: true }).decode(bytes),
}
const rows = await parquetReadObjects({
    file,
    metadata,
    parsers,
    utf8: false,
    compressors: { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) },
})
const told = (_, value) => {
    // An object that is not there.
    if (value === undefined) return null
    if (typeof value === 'bigint') return value.toString()
    if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
    return value
}
const line = (value) => writeSync(1, JSON.stringify(value, told) + '\n')
for (const row of rows) line(row)
line({
    schema: metadata.key_value_metadata.find(({ key }) => key === 'schema').value,
    groups: metadata.row_groups.map((group) => group.num_rows),
})

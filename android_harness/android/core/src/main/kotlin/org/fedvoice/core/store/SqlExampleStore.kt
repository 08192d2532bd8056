package org.fedvoice.core.store

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Vocabulary
import java.io.File

/**
 * The example store in SQLite, with the schema of `device_runtime/store.py`: each can open the
 * other's file, if no example in it is a segment of a recording.
 *
 * @param decoder of files that are no wav files
 * @param clock Unix time in seconds
 */
class SqlExampleStore(
    private val database: Database,
    private val limits: StoreLimits = StoreLimits(),
    private val decoder: AudioDecoder = AudioDecoder.NONE,
    private val clock: () -> Double = { System.currentTimeMillis() / 1e3 },
) : ExampleStore {
    init {
        transaction { db ->
            SCHEMA.forEach(db::execute)
            refuseSegments(db)
        }
    }

    /** A Python phone's may be parts of recordings: read here, each would be all of its own. */
    private fun refuseSegments(db: Statements) {
        val columns = db.query("SELECT name FROM pragma_table_info('examples')")
        if (listOf<Any?>("offset_secs") !in columns) return
        val segments = "SELECT count(*) FROM examples WHERE offset_secs IS NOT NULL"
        val count = db.query(segments).single().single() as Long
        if (count == 0L) return
        throw FedvoiceException(
            ErrorCode.BAD_CONFIG,
            where = database.where,
            got = "$count examples that are segments of recordings",
            wanted = "whole recordings, which is what this phone reads",
            nextStep = "Add them to a new store: `fedvoice deploy --examples` cuts them.",
        )
    }

    override fun addAll(examples: List<NewExample>): List<Long> {
        val rows = examples.map(::row)
        return transaction { db ->
            expire(db)
            rows.map { row ->
                makeRoom(db, row.heldBytes)
                db.execute(INSERT, *row.values)
                db.query("SELECT last_insert_rowid()").single().single() as Long
            }
        }
    }

    override fun examples(split: Split): List<StoredExample> =
        transaction { db ->
            expire(db)
            db.query("SELECT $COLUMNS FROM examples WHERE split = ? ORDER BY id", split.id)
        }.map(::stored)

    override fun count(split: Split): Int =
        transaction { db ->
            expire(db)
            val rows = db.query("SELECT count(*) FROM examples WHERE split = ?", split.id)
            (rows.single().single() as Long).toInt()
        }

    override fun heldBytes(): Long = transaction { totals(it).second }

    override fun audio(example: StoredExample): Audio {
        example.audioFile?.let { return decoder.asWav(Audio.InFile(it), example.where) }
        val bytes =
            transaction { heldAudio(it, example.id) }
                ?: throw FedvoiceException(
                    ErrorCode.MISSING_AUDIO,
                    where = example.where,
                    got = "an example deleted meanwhile",
                    wanted = "its audio",
                    nextStep = "Nothing: the next round does without it.",
                )
        return Audio.Held(bytes)
    }

    /** In pieces: Android reads no row of more than 2 MB, 11 s at 96 kHz. */
    private fun heldAudio(db: Statements, id: Long): ByteArray? {
        val sizes = db.query("SELECT length(audio) FROM examples WHERE id = ?", id)
        val size = (sizes.singleOrNull()?.single() as Long?)?.toInt() ?: return null
        val bytes = ByteArray(size)
        for (offset in 0 until size step PIECE_BYTES) {
            val part = "substr(audio, ${offset + 1}, $PIECE_BYTES)"
            val piece = db.query("SELECT $part FROM examples WHERE id = ?", id)
            (piece.single().single() as ByteArray).copyInto(bytes, offset)
        }
        return bytes
    }

    override fun markUsed(ids: List<Long>, round: Int) {
        val note = "INSERT OR IGNORE INTO uses SELECT id, ? FROM examples WHERE id = ?"
        transaction { db -> ids.forEach { db.execute(note, round, it) } }
    }

    override fun roundsUsed(): Map<Long, List<Int>> =
        transaction {
            it.query("SELECT example_id, round FROM uses ORDER BY example_id, round")
        }.groupBy({ it.first() as Long }, { (it.last() as Long).toInt() })

    override fun delete(id: Long) {
        transaction { it.execute("DELETE FROM examples WHERE id = ?", id) }
    }

    override fun deleteAll() {
        transaction { it.execute("DELETE FROM examples") }
        explained { database.execute("VACUUM") }
    }

    private class Row(val heldBytes: Long, val values: Array<Any?>)

    private fun row(example: NewExample): Row {
        val audio = example.audio
        val held = (audio as? Audio.Held)?.wav
        val path = (audio as? Audio.InFile)?.file?.absolutePath
        val where = path ?: "new example"
        val transcript = Vocabulary.fold(example.transcript)
        if (transcript.isEmpty()) {
            throw FedvoiceException(
                ErrorCode.EMPTY_TRANSCRIPT,
                where = where,
                got = "no text",
                wanted = "the words spoken",
                nextStep = "Transcribe the recording or leave it out.",
            )
        }
        val facts = readFacts(decoder.asWav(audio, where), where)
        val heldBytes = held?.size?.toLong() ?: 0L
        val columns =
            arrayOf<Any?>(
                path,
                held,
                heldBytes,
                facts.sampleRate,
                facts.samples,
                transcript,
                example.source.id,
                example.split.id,
                clock(),
            )
        return Row(heldBytes, columns)
    }

    private fun stored(row: List<Any?>): StoredExample {
        val fields = row.iterator()
        return StoredExample(
            id = fields.next() as Long,
            audioFile = (fields.next() as String?)?.let(::File),
            sampleRate = (fields.next() as Long).toInt(),
            samples = (fields.next() as Long).toInt(),
            transcript = fields.next() as String,
            source = fields.next().let { id -> Source.entries.first { it.id == id } },
            split = fields.next().let { id -> Split.entries.first { it.id == id } },
            addedSecs = (fields.next() as Number).toDouble(),
        )
    }

    private fun makeRoom(db: Statements, newBytes: Long) {
        val maxExamples = limits.maxExamples?.toLong() ?: Long.MAX_VALUE
        val maxBytes = limits.maxBytes ?: Long.MAX_VALUE
        val fitsAtAll = maxExamples >= 1 && newBytes <= maxBytes
        var (count, held) = totals(db)
        while (count + 1 > maxExamples || held + newBytes > maxBytes) {
            if (limits.whenFull == WhenFull.REFUSE || !fitsAtAll) {
                throw FedvoiceException(
                    ErrorCode.STORE_FULL,
                    where = database.where,
                    got = "$count examples, $held bytes, and $newBytes bytes to add",
                    wanted =
                        "at most ${limits.maxExamples ?: "any number of"} examples, " +
                            "${limits.maxBytes ?: "any number of"} bytes",
                    nextStep = "Delete examples, raise the limits, or let the oldest be evicted.",
                )
            }
            db.execute("DELETE FROM examples WHERE id = (SELECT min(id) FROM examples)")
            val now = totals(db)
            count = now.first
            held = now.second
        }
    }

    private fun totals(db: Statements): Pair<Long, Long> {
        val totals = "SELECT count(*), coalesce(sum(held_bytes), 0) FROM examples"
        val (count, held) = db.query(totals).single()
        return Pair(count as Long, held as Long)
    }

    private fun expire(db: Statements) {
        val living = limits.timeToLiveSecs ?: return
        db.execute("DELETE FROM examples WHERE added_secs < ?", clock() - living)
    }

    private fun <T> transaction(work: (Statements) -> T): T =
        explained { database.transaction(work) }

    private fun <T> explained(work: () -> T): T =
        try {
            work()
        } catch (error: DatabaseFailure) {
            throw FedvoiceException(
                if (error.full) ErrorCode.NO_SPACE else ErrorCode.BAD_CONFIG,
                where = database.where,
                got = error.message.orEmpty(),
                wanted =
                    if (error.full) {
                        "room on the disk"
                    } else {
                        "an example store that SQLite can open"
                    },
                nextStep =
                    if (error.full) "Free some space." else "Move the file away and add again.",
                cause = error,
            )
        }

    private companion object {
        const val PIECE_BYTES = 1 shl 20
        const val COLUMNS =
            "id, audio_path, sample_rate, samples, transcript, source, split, added_secs"
        const val INSERT =
            "INSERT INTO examples (audio_path, audio, held_bytes, sample_rate, samples," +
                " transcript, source, split, added_secs) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        val SCHEMA =
            listOf(
                """
                CREATE TABLE IF NOT EXISTS examples (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    audio_path TEXT,
                    audio BLOB,
                    held_bytes INTEGER NOT NULL,
                    sample_rate INTEGER NOT NULL,
                    samples INTEGER NOT NULL,
                    transcript TEXT NOT NULL,
                    source TEXT NOT NULL,
                    split TEXT NOT NULL,
                    added_secs REAL NOT NULL
                )
                """.trimIndent(),
                """
                CREATE TABLE IF NOT EXISTS uses (
                    example_id INTEGER NOT NULL REFERENCES examples (id) ON DELETE CASCADE,
                    round INTEGER NOT NULL,
                    PRIMARY KEY (example_id, round)
                ) WITHOUT ROWID
                """.trimIndent(),
            )
    }
}

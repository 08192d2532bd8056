package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.NewExample
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.StoreLimits
import org.fedvoice.core.store.WhenFull
import org.fedvoice.core.store.wavOf
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** Core's example store in SQLite: what a phone keeps, how much of it and how long. */
class ExampleStoreTest {
    @TempDir
    lateinit var folder: File

    private val sound = wavOf(ShortArray(100), 16000)
    private var nowSecs = 0.0

    @Test
    fun `a full store forgets its oldest`() {
        for (limits in listOf(
            StoreLimits(maxExamples = 2),
            StoreLimits(maxBytes = 2L * sound.size),
        )) {
            val store = store(limits)
            store.addAll(listOf("a", "b", "c").map { example(it) })
            assertEquals(listOf("b", "c"), texts(store))
            assertEquals(2L * sound.size, store.heldBytes())
        }
    }

    @Test
    fun `a full store can refuse`() {
        val store = store(StoreLimits(maxExamples = 2, whenFull = WhenFull.REFUSE))
        store.add(example("a"))
        assertEquals(
            ErrorCode.STORE_FULL,
            refused { store.addAll(listOf(example("b"), example("c"))) },
        )
        assertEquals(listOf("a"), texts(store), "all or none")
    }

    @Test
    fun `what is larger than the store evicts nobody`() {
        val store = store(StoreLimits(maxBytes = sound.size.toLong()))
        store.add(example("a"))
        val large = wavOf(ShortArray(101), 16000)
        assertEquals(ErrorCode.STORE_FULL, refused { store.add(example("b", large)) })
        assertEquals(listOf("a"), texts(store))
    }

    @Test
    fun `recordings that are only referred to cost no bytes`() {
        val file = File(folder, "a.wav").apply { writeBytes(sound) }
        val store = store(StoreLimits(maxBytes = 1))
        store.add(NewExample(Audio.InFile(file), "a"))
        assertEquals(listOf("a"), texts(store))
        assertEquals(0L, store.heldBytes())
    }

    @Test
    fun `examples live for their time`() {
        val store = store(StoreLimits(timeToLiveSecs = 10.0))
        store.add(example("old"))
        nowSecs = 6.0
        store.add(example("new"))
        nowSecs = 10.0
        assertEquals(listOf("old", "new"), texts(store))
        nowSecs = 10.5
        assertEquals(1, store.count(Split.TRAIN))
        assertEquals(listOf("new"), texts(store))
        nowSecs = 17.0
        store.add(example("newest"))
        assertEquals(sound.size.toLong(), store.heldBytes(), "adding deletes what has expired")
    }

    @Test
    fun `a clock that was set back keeps what it has`() {
        val store = store(StoreLimits(timeToLiveSecs = 10.0))
        store.add(example("a"))
        nowSecs = -1000.0
        assertEquals(listOf("a"), texts(store))
    }

    @Test
    fun `a Python phone's store is read, and refused with segments in it`() {
        val database = JdbcDatabase(File(folder, "examples.sqlite"))
        SqlExampleStore(database).add(example("a"))
        database.transaction { it.execute("ALTER TABLE examples ADD COLUMN offset_secs REAL") }
        assertEquals(listOf("a"), texts(SqlExampleStore(database)))

        database.transaction { it.execute("UPDATE examples SET offset_secs = 0.0") }
        val error = assertThrows<FedvoiceException> { SqlExampleStore(database) }
        assertEquals(ErrorCode.BAD_CONFIG, error.code)
        assertEquals("1 examples that are segments of recordings", error.got)
    }

    private fun store(limits: StoreLimits) =
        SqlExampleStore(JdbcDatabase(File.createTempFile("store", "", folder)), limits) { nowSecs }

    private fun example(text: String, wav: ByteArray = sound) = NewExample(Audio.Held(wav), text)

    private fun texts(store: SqlExampleStore) = store.examples(Split.TRAIN).map { it.transcript }

    private fun refused(work: () -> Unit) = assertThrows<FedvoiceException>(work).code
}

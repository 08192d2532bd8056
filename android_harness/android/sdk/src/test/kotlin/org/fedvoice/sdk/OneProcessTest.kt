package org.fedvoice.sdk

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.Outcome
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

/** Each `OneProcess` stands for a process of the app: all share the app's folder. */
class OneProcessTest : SdkTest() {
    private val others = FakePhone()
    private val here = OneProcess(phone, PhoneFiles(app).lock)
    private val there = OneProcess(others, PhoneFiles(app).lock)

    @Test
    fun `of an app's processes one trains, and the others come back later`() =
        runBlocking {
            val training = CompletableDeferred<Unit>()
            val end = CompletableDeferred<Unit>()
            phone.work = {
                training.complete(Unit)
                end.await()
                FakePhone.trained()
            }
            val first = async(Dispatchers.Default) { session(here) }
            training.await()

            val second = session(there)

            assertEquals(Happened.NOT_READY, second.happened)
            assertTrue(second.nextContactSecs > 0)
            assertTrue("nothing was started", others.overrides.isEmpty())
            end.complete(Unit)
            assertEquals(Happened.TRAINED, first.await().happened)
            assertEquals(Happened.TRAINED, session(there).happened)
        }

    @Test
    fun `an enrolment waits for the session of another process`() =
        runBlocking {
            val training = CompletableDeferred<Unit>()
            val end = CompletableDeferred<Unit>()
            phone.work = {
                training.complete(Unit)
                end.await()
                assertTrue(others.invitations.isEmpty())
                FakePhone.trained()
            }
            val session = async(Dispatchers.Default) { session(here) }
            training.await()
            val enrolment = async(Dispatchers.Default) { there.enrol("fedvoice1:abc") }

            end.complete(Unit)
            session.await()
            enrolment.await()

            assertEquals(listOf("fedvoice1:abc"), others.invitations)
        }

    @Test
    fun `consent taken back in another process ends the session here`() =
        runBlocking {
            agree()
            val session = uploading()

            ConsentFile(files.consent).takeBack()

            assertNull(withTimeout(5000) { session.await() })
            assertFalse(voice.consent)
            assertEquals("no session is begun", null, voice.session())
        }

    @Test
    fun `a deletion waits for the session of another process, and leaves no lock behind`() =
        runBlocking {
            agree()
            voice.phone = there
            val training = CompletableDeferred<Unit>()
            val end = CompletableDeferred<Unit>()
            var written = false
            phone.work = {
                training.complete(Unit)
                end.await()
                files.session.mkdirs()
                written = File(files.session, "checkpoint").createNewFile()
                FakePhone.trained()
            }
            val session = async(Dispatchers.Default) { session(here) }
            training.await()
            val deletion = async(Dispatchers.Default) { voice.deleteEverything() }
            delay(50)
            assertTrue(deletion.isActive)

            end.complete(Unit)
            session.await()
            deletion.await()

            assertTrue(written)
            assertFalse(files.root.exists())
        }

    private suspend fun session(process: OneProcess): Outcome =
        process.session(voice.config, voice.store(), overridden = false) { false }
}

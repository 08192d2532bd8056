package org.fedvoice.dictation

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.launch
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config

/**
 * The switch while changes of consent take their time. Under Robolectric, as all tests here: a failed
 * coroutine looks at `android.os.Build`, which outside of it fails once and then for every later test.
 */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class ConsentTest {
    private val screen = CoroutineScope(SupervisorJob() + Dispatchers.Unconfined)
    private val ends = Channel<Result<Unit>>()
    private var holds = false
    private val consent =
        Consent(CoroutineScope(SupervisorJob() + Dispatchers.Unconfined), { holds }) { given ->
            ends.receive().getOrThrow()
            holds = given
        }

    @Test
    fun `an older change that ends leaves the switch where the person put it last`() {
        consent.change(true)
        consent.change(false)
        assertFalse(consent.isOn)

        endOne()
        assertTrue(holds)
        assertFalse(consent.isOn)

        endOne()
        assertFalse(holds || consent.isOn)
    }

    @Test
    fun `a screen that is closed takes no change back`() {
        val waiting = screen.launch { consent.change(true).await() }
        waiting.cancel()
        assertTrue(consent.isOn && consent.isChanging)

        endOne()
        assertTrue(holds && consent.isOn)
        assertFalse(consent.isChanging)
    }

    @Test
    fun `after a change that fails the switch shows what holds, and the screen hears why`() {
        var said: String? = null
        screen.launch {
            said =
                runCatching { consent.change(true).await() }.exceptionOrNull()?.message
        }
        assertTrue(consent.isOn)

        endOne(Result.failure(IllegalStateException("disk")))
        assertFalse(consent.isOn)
        assertEquals("disk", said)
    }

    private fun endOne(how: Result<Unit> = Result.success(Unit)) =
        assertTrue("a change waits", ends.trySend(how).isSuccess)
}

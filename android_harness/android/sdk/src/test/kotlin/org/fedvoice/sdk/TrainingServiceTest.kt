package org.fedvoice.sdk

import android.app.Notification
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf

class TrainingServiceTest : SdkTest() {
    @Test
    fun `a session that a person started shows itself and ends by itself`() {
        agree()

        val service =
            Robolectric
                .buildService(
                    TrainingService::class.java,
                ).create()
                .startCommand(0, 1)
                .get()
        val notification = shadowOf(service).lastForegroundNotification
        waitFor { shadowOf(service).isStoppedBySelf }

        assertEquals(
            "Nothing you said leaves this phone.",
            notification.extras.getString(Notification.EXTRA_TEXT),
        )
        assertTrue(notification.flags and Notification.FLAG_ONGOING_EVENT != 0)
        assertEquals(listOf(true), phone.overrides)
    }
}

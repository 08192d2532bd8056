package org.fedvoice.sdk

import org.fedvoice.core.session.DailyLimits
import org.fedvoice.core.session.Requirements

/**
 * How the library behaves inside a host app. The defaults are those of a phone that nobody notices
 * training: on the charger, not in use, on an unmetered network, cool.
 *
 * @property requirements what must hold before and during training; `unmetered` only for calls
 * @property graceSecs how long conditions may be lost before training stops
 * @property dailyLimits what training may cost in a day; a phone that has reached one waits until
 *   the next day, except for sessions that a person asks for
 * @property maxExamples of speech held on the phone; the oldest make room
 * @property maxExampleBytes of audio held on the phone
 * @property exampleTimeToLiveDays after which speech is deleted, trained on or not
 * @property testShare of examples kept for measuring the word error rate, never trained on
 * @property jobId the host app's other scheduled jobs have other numbers
 * @property notificationId the host app's other notifications have other numbers
 * @property threads of the training runtime
 * @property notification what is shown while a person waits for training that they started
 */
data class FedVoiceConfig(
    val requirements: Requirements =
        Requirements(minBatteryPercent = 30, maxTemperatureCelsius = 40.0),
    val graceSecs: Double = 5.0,
    val dailyLimits: DailyLimits = DailyLimits(),
    val maxExamples: Int = 2000,
    val maxExampleBytes: Long = 256L shl 20,
    val exampleTimeToLiveDays: Int = 90,
    val testShare: Double = 0.1,
    val jobId: Int = 4077,
    val notificationId: Int = 4077,
    val threads: Int = 2,
    val notification: NotificationText = NotificationText(),
)

/**
 * What the notification says: the host app's words in the person's language.
 *
 * @property icon a drawable of the host app
 */
data class NotificationText(
    val channel: String = "Learning from your speech",
    val title: String = "Learning from your speech",
    val text: String = "Nothing you said leaves this phone.",
    val icon: Int = android.R.drawable.stat_notify_sync,
)

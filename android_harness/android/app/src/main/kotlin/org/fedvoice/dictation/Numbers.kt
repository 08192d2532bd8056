package org.fedvoice.dictation

import android.content.Context
import android.icu.text.ListFormatter
import android.icu.text.MeasureFormat
import android.icu.text.NumberFormat
import android.icu.text.RelativeDateTimeFormatter
import android.icu.util.Measure
import android.icu.util.MeasureUnit
import android.text.format.DateUtils
import android.text.format.Formatter
import java.util.Locale

/** Times, lengths and sizes as the person's language writes them. */
private val Context.locale: Locale get() = resources.configuration.locales[0]

/** "in 5 minutes", for the middle of a sentence; a minute at least. */
internal fun Context.timeFromNow(secs: Double): String {
    val (unit, unitSecs) =
        when {
            secs < 100 * 60 -> RelativeDateTimeFormatter.RelativeUnit.MINUTES to 60
            secs < 48 * 3600 -> RelativeDateTimeFormatter.RelativeUnit.HOURS to 3600
            else -> RelativeDateTimeFormatter.RelativeUnit.DAYS to 86_400
        }
    val count = maxOf(1.0, Math.round(secs / unitSecs).toDouble())
    return RelativeDateTimeFormatter
        .getInstance(locale)
        .format(count, RelativeDateTimeFormatter.Direction.NEXT, unit)
}

/** "12 Nov, 14:05"; the year where it is not this one. */
internal fun Context.dateAndTime(unixSecs: Double): String =
    DateUtils.formatDateTime(
        this,
        (unixSecs * 1000).toLong(),
        DateUtils.FORMAT_SHOW_DATE or DateUtils.FORMAT_SHOW_TIME or DateUtils.FORMAT_ABBREV_MONTH,
    )

/** "3.4 sec". */
internal fun Context.seconds(secs: Double): String = measure(secs, 1, MeasureUnit.SECOND)

/** "40 sec" or "12 min". */
internal fun Context.workTime(secs: Double): String =
    when {
        secs < 100 -> measure(secs, 0, MeasureUnit.SECOND)
        else -> measure(secs / 60, 0, MeasureUnit.MINUTE)
    }

/** "1.2 MB". */
internal fun Context.size(bytes: Long): String = Formatter.formatShortFileSize(this, bytes)

/** "2,000", or "3.4" with one digit. */
internal fun Context.number(value: Number, digits: Int = 0): String =
    numbers(digits).format(value.toDouble())

/** "3, 7, and 12". */
internal fun Context.list(parts: List<String>): String =
    ListFormatter.getInstance(locale).format(parts)

private fun Context.measure(value: Double, digits: Int, unit: MeasureUnit): String =
    MeasureFormat
        .getInstance(locale, MeasureFormat.FormatWidth.SHORT, numbers(digits))
        .format(Measure(value, unit))

private fun Context.numbers(digits: Int): NumberFormat =
    NumberFormat.getInstance(locale).apply { maximumFractionDigits = digits }

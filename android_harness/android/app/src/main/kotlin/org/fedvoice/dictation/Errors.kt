package org.fedvoice.dictation

import android.content.Context
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException

/** What went wrong and what to do, in the person's language; the log has the whole of it. */
internal fun Context.wordsFor(
    error: FedvoiceException,
    notFound: Int = R.string.error_gone,
): String =
    when (error.code) {
        ErrorCode.BAD_CREDENTIALS -> getString(R.string.error_credentials)
        ErrorCode.SERVER_UNREACHABLE -> getString(R.string.error_unreachable)
        ErrorCode.EMPTY_TRANSCRIPT -> getString(R.string.error_empty)
        ErrorCode.WRONG_SHAPE -> getString(R.string.error_length)
        ErrorCode.MISSING_AUDIO, ErrorCode.UNREADABLE_AUDIO -> getString(R.string.error_audio)
        ErrorCode.NO_SPACE, ErrorCode.STORE_FULL -> getString(R.string.error_space)
        ErrorCode.NOT_WRITABLE -> getString(R.string.error_storage)
        ErrorCode.EXISTS -> getString(R.string.error_busy)
        ErrorCode.NOT_FOUND -> getString(notFound)
        else -> getString(R.string.error_other, error.code.id)
    }

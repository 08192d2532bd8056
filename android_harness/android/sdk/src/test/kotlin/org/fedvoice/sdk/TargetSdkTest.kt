package org.fedvoice.sdk

import org.junit.Assert.assertEquals
import org.junit.Test

/** Rules of Android that only bind apps of a target version bind the tests' app too. */
class TargetSdkTest : SdkTest() {
    @Test
    fun `the tests' app has the target version of today's apps`() {
        assertEquals(35, app.applicationInfo.targetSdkVersion)
    }
}
